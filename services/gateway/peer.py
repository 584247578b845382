"""A caller's WebRTC connection: blocks and events out, microphone and events in."""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from aiortc import MediaStreamTrack, RTCDataChannel, RTCIceServer, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcsctptransport import LOCAL_MAX_MESSAGE_SIZE
from av import AudioFrame
from numpy.typing import NDArray

from avatar.telemetry.logging import get_logger
from avatar.timebase import TICKS_PER_SECOND
from services.gateway.connection import Connection
from services.gateway.events import MAX_EVENT_BYTES
from services.gateway.feed import Feed
from services.gateway.media import Block
from services.gateway.microphone import Microphone
from services.gateway.reach import Reach
from services.gateway.sdp import Offer

log = get_logger(__name__)

EVENTS_LABEL: Final = "events"
MAX_CHANNELS: Final = 8
"""A caller that opens more data channels is shown out."""
MAX_BUFFERED_BYTES: Final = 256 << 10
"""Given to SCTP at once; the rest waits where it can still be dropped."""
MAX_WAITING_EVENTS: Final = 512
MAX_WAITING_BYTES: Final = 1 << 20


class Listener(Protocol):
    """Who is told what happens on a connection; all methods return at once."""

    def connected(self, peer: "WebRtcPeer", /) -> None:
        """Media flow from now on; once."""
        ...

    def lost(self, peer: "WebRtcPeer", /) -> None:
        """The caller is gone, or never came; once, and not after `close`."""
        ...

    def received(self, peer: "WebRtcPeer", message: str | bytes, /) -> None: ...

    def heard(self, peer: "WebRtcPeer", samples: NDArray[np.float32], /) -> None:
        """Microphone, (S,) mono at 16 kHz in [-1, 1]."""
        ...


class WebRtcPeer(Connection):
    """One connection of a caller; a `Peer` for the session, which plays to all through it."""

    SOUND: ClassVar[str] = "sendrecv"

    def __init__(
        self,
        listener: Listener,
        offer: Offer,
        feed: Feed,
        *,
        session_id: str,
        reach: Reach,
        ice_servers: Sequence[RTCIceServer] = (),
    ) -> None:
        super().__init__(offer, feed, reach, ice_servers)
        self._listener = listener
        self._session_id = session_id
        self._last_at = 0
        self._leads = False
        self._channel: RTCDataChannel | None = None
        self._num_channels = 0
        self._waiting: deque[str] = deque()
        self._num_waiting_bytes = 0
        self._hearing: set[asyncio.Task[None]] = set()

    async def answer(self) -> str:
        # what events.parse takes, so that a client knows before it sends
        return (await super().answer()).replace(
            f"a=max-message-size:{LOCAL_MAX_MESSAGE_SIZE}", f"a=max-message-size:{MAX_EVENT_BYTES}"
        )

    def play(self, block: Block) -> None:
        """Give this to the caller, and to everybody who watches."""
        if self._is_over:
            return
        if not self._leads:
            self._leads = True
            self._feed.join(self, leads=True)
        self._last_at = block.at
        self._feed.play(block)

    def tell(self, event: Mapping[str, object]) -> None:
        """Send an event; what it lacks of event_id, session_id and t_ms is added.

        Until the caller's channel is open, and where it is slow, events wait; the oldest go first.
        """
        if self._is_over:
            return
        about = {
            "event_id": uuid.uuid4().hex,
            "session_id": self._session_id,
            "t_ms": round(1000 * self._last_at / TICKS_PER_SECOND),
        }
        text = json.dumps({**about, **event})
        self._waiting.append(text)
        self._num_waiting_bytes += len(text)
        self._send_waiting()
        while (
            len(self._waiting) > MAX_WAITING_EVENTS or self._num_waiting_bytes > MAX_WAITING_BYTES
        ):
            self._num_waiting_bytes -= len(self._waiting.popleft())

    async def _close(self) -> None:
        self._waiting.clear()
        hearing = set(self._hearing)
        for task in hearing:
            task.cancel()
        await super()._close()
        if hearing:
            await asyncio.wait(hearing)

    # What aiortc tells

    def _prepare(self, connection: RTCPeerConnection) -> None:
        connection.on("track", self._on_track)
        connection.on("datachannel", self._on_channel)

    def _connected(self) -> None:
        self._listener.connected(self)

    def _lost(self) -> None:
        self._listener.lost(self)

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._begin(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        microphone = Microphone()
        try:
            while not self._is_over:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                samples = microphone.push(frame)
                if samples.size and not self._is_over:
                    self._listener.heard(self, samples)
        except MediaStreamError:
            pass  # the track has ended; the call goes on in writing

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._hearing.add(task)
        task.add_done_callback(self._hearing.discard)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._num_channels += 1
        if self._num_channels > MAX_CHANNELS:
            self._lose()
        elif channel.label != EVENTS_LABEL or self._channel is not None:
            channel.close()
        else:
            self._channel = channel
            channel.bufferedAmountLowThreshold = MAX_BUFFERED_BYTES // 2
            channel.on("message", self._on_message)
            channel.on("bufferedamountlow", self._send_waiting)
            self._send_waiting()

    def _on_message(self, message: str | bytes) -> None:
        if not self._is_over:
            self._listener.received(self, message)

    def _send_waiting(self) -> None:
        channel = self._channel
        while (
            channel is not None
            and channel.readyState == "open"
            and self._waiting
            and channel.bufferedAmount < MAX_BUFFERED_BYTES
        ):
            text = self._waiting.popleft()
            self._num_waiting_bytes -= len(text)
            try:
                channel.send(text)
            except ValueError:  # more than the caller said it can take
                log.warning("event_too_large", num_bytes=len(text))
