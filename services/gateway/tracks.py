"""Sound and pictures of one connection: packets that wait for aiortc to send them."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.packet import Packet

MAX_BLOCKS: Final = 10
"""200 ms: what a loop that stood still may catch up with."""
MAX_PICTURES: Final = 10

OnSent = Callable[[int], None]
"""Told a packet's pts when aiortc comes for the next one: the former has left by then."""

T = TypeVar("T")


def _ignore(pts: int) -> None:
    pass


class Newest(Generic[T]):
    """A queue that never holds more than its newest `capacity` items; for one reader."""

    def __init__(self, capacity: int) -> None:
        self.num_dropped = 0
        self._items: deque[T] = deque(maxlen=capacity)
        self._arrived = asyncio.Event()

    @property
    def is_full(self) -> bool:
        return len(self._items) == self._items.maxlen

    def put(self, item: T) -> None:
        self.num_dropped += self.is_full
        self._items.append(item)
        self._arrived.set()

    def clear(self) -> None:
        self.num_dropped += len(self._items)
        self._items.clear()

    async def get(self) -> T:
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()


class PacketTrack(MediaStreamTrack):
    """Packets in the order in which they were put; those that nobody fetches go, oldest first."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.on_sent: OnSent = _ignore
        self._packets: Newest[Packet[Any]] = Newest(capacity)
        self._last_pts: int | None = None

    @property
    def num_dropped(self) -> int:
        return self._packets.num_dropped

    def put(self, packet: "Packet[Any]") -> None:
        self._packets.put(packet)

    async def recv(self) -> "Packet[Any]":
        if self.readyState != "live":
            raise MediaStreamError
        if self._last_pts is not None:
            self.on_sent(self._last_pts)
        packet = await self._packets.get()
        self._last_pts = packet.pts
        return packet


class SoundTrack(PacketTrack):
    """The avatar's voice; a packet that is missing is repaired from the next one."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__(MAX_BLOCKS)


class PictureTrack(PacketTrack):
    """The avatar's face: begins with a whole picture, and after a gap goes on with one."""

    kind = "video"

    def __init__(self, want_whole: Callable[[], None]) -> None:
        super().__init__(MAX_PICTURES)
        self._want_whole = want_whole
        self._waits_for_whole = True

    def put(self, packet: "Packet[Any]") -> None:
        if packet.is_keyframe:
            self._waits_for_whole = False
        elif self._packets.is_full and not self._waits_for_whole:
            self._waits_for_whole = True  # what follows builds on what would be missing
            self._packets.clear()
            self._want_whole()
        if not self._waits_for_whole:
            super().put(packet)
