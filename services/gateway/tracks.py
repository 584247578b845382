"""Sound and pictures of one connection, from the session's blocks to packets that aiortc sends."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final, Generic, TypeVar

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.packet import Packet

from avatar.telemetry.logging import get_logger
from services.gateway.encoders import Bitrates, PictureEncoder, RateControl, SoundEncoder
from services.gateway.media import Block, Picture
from services.gateway.sdp import PictureCodec

log = get_logger(__name__)

MAX_BLOCKS: Final = 10
"""200 ms: what a loop that stood still may catch up with."""
MAX_PICTURES: Final = 5
WHOLE_PICTURE_INTERVAL_S: Final = 0.2
"""A whole picture costs as much as ten others; who asks more often gets one this often."""

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

    def put(self, item: T) -> None:
        self.num_dropped += len(self._items) == self._items.maxlen
        self._items.append(item)
        self._arrived.set()

    async def get(self) -> T:
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()


class SoundTrack(MediaStreamTrack):
    """The avatar's voice, encoded where it stands: it takes a quarter of a millisecond a block."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.blocks: Newest[Block] = Newest(MAX_BLOCKS)
        self.on_sent: OnSent = _ignore
        self._encoder = SoundEncoder()
        self._last_pts: int | None = None

    async def recv(self) -> "Packet[Any]":
        if self.readyState != "live":
            raise MediaStreamError
        if self._last_pts is not None:
            self.on_sent(self._last_pts)
        block = await self.blocks.get()
        try:
            packet = self._encoder.encode(block)
        except Exception as error:  # aiortc would tell its own log only
            log.exception("sound_not_encoded")
            raise MediaStreamError from error
        self._last_pts = packet.pts
        return packet


class PictureTrack(MediaStreamTrack):
    """The avatar's face, encoded in the executor."""

    kind = "video"

    def __init__(self, codec: PictureCodec, executor: Executor, clock: Callable[[], float]) -> None:
        super().__init__()
        self.pictures: Newest[Picture] = Newest(MAX_PICTURES)
        self.on_sent: OnSent = _ignore
        self._last_pts: int | None = None
        self._encoder = PictureEncoder(codec)
        self._executor = executor
        self._clock = clock
        self._rate: RateControl | None = None
        self._is_whole_wanted = True
        self._whole_at = float("-inf")

    @property
    def bits_per_s(self) -> int:
        """The rate encoded for; 0 before the first picture."""
        return self._rate.bits_per_s if self._rate is not None else 0

    def want_whole(self) -> None:
        """The receiver cannot go on without a whole picture."""
        self._is_whole_wanted = True

    def on_estimate(self, bits_per_s: int) -> None:
        if self._rate is not None:
            self._rate.on_estimate(bits_per_s)

    async def recv(self) -> "Packet[Any]":
        loop = asyncio.get_running_loop()
        if self._last_pts is not None:
            self.on_sent(self._last_pts)
        while self.readyState == "live":
            picture = await self.pictures.get()
            if self._rate is None:
                height, width, _ = picture.pixels.shape
                self._rate = RateControl(Bitrates.of(width, height), self._clock)
            is_whole = self._take_whole()
            try:
                packet = await loop.run_in_executor(
                    self._executor, self._encode, picture, self._rate.bits_per_s, is_whole
                )
            except Exception as error:  # aiortc would tell its own log only
                log.exception("picture_not_encoded")
                raise MediaStreamError from error
            if packet is not None:
                self._rate.sent(packet.size)
                self._last_pts = packet.pts
                return packet
        raise MediaStreamError

    def _encode(self, picture: Picture, bits_per_s: int, is_whole: bool) -> "Packet[Any] | None":
        return self._encoder.encode(picture, bits_per_s, is_whole=is_whole)

    def _take_whole(self) -> bool:
        now = self._clock()
        if not self._is_whole_wanted or now - self._whole_at < WHOLE_PICTURE_INTERVAL_S:
            return False
        self._is_whole_wanted = False
        self._whole_at = now
        return True
