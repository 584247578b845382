"""A caller's WebRTC connection: blocks and events out, microphone and events in."""

import asyncio
import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final, Protocol

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcsctptransport import LOCAL_MAX_MESSAGE_SIZE
from av import AudioFrame
from numpy.typing import NDArray

from avatar.telemetry.logging import get_logger
from avatar.timebase import TICKS_PER_SECOND
from services.gateway.encoders import OPUS_AHEAD, PICTURE_RATE
from services.gateway.events import MAX_EVENT_BYTES
from services.gateway.media import PLAYED_RATE, Block
from services.gateway.microphone import Microphone
from services.gateway.reach import Reach, gather
from services.gateway.sdp import Offer
from services.gateway.senders import CallClock, SenderReports, attach
from services.gateway.tracks import PictureTrack, SoundTrack

log = get_logger(__name__)

EVENTS_LABEL: Final = "events"
MAX_CHANNELS: Final = 8
"""A caller that opens more data channels is shown out."""
MAX_BUFFERED_BYTES: Final = 256 << 10
"""Given to SCTP at once; the rest waits where it can still be dropped."""
MAX_WAITING_EVENTS: Final = 512
MAX_WAITING_BYTES: Final = 1 << 20
CLOSE_S: Final = 5.0


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


class WebRtcPeer:
    """One connection, from a caller's offer to its end; a `Peer` for the session."""

    def __init__(
        self,
        listener: Listener,
        offer: Offer,
        *,
        session_id: str,
        reach: Reach,
        executor: Executor,
        ice_servers: Sequence[RTCIceServer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`executor` encodes pictures."""
        self._listener = listener
        self._offer = offer
        self._session_id = session_id
        self._reach = reach
        self._call = CallClock()
        self._last_at = 0
        self._connection = RTCPeerConnection(
            RTCConfiguration(
                # never None: aiortc would ask a public STUN server
                iceServers=list(ice_servers),
                bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
            )
        )
        self._sound = SoundTrack()
        self._pictures = PictureTrack(offer.picture_codec, executor, clock)
        self._uses_candidates = bool(ice_servers)
        self._channel: RTCDataChannel | None = None
        self._num_channels = 0
        self._waiting: deque[str] = deque()
        self._num_waiting_bytes = 0
        self._is_connected = False
        self._is_over = False
        self._gone = asyncio.Event()
        self._hearing: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    @property
    def stats(self) -> dict[str, int]:
        """What was dropped, and the rate encoded for."""
        return {
            "blocks_dropped": self._sound.blocks.num_dropped,
            "pictures_dropped": self._pictures.pictures.num_dropped,
            "bits_per_s": self._pictures.bits_per_s,
        }

    async def answer(self) -> str:
        """The SDP to answer the offer with; the connection comes about by itself afterwards."""
        connection = self._connection
        sound = connection.addTransceiver(self._sound, direction="sendrecv").sender
        pictures = connection.addTransceiver(self._pictures, direction="sendonly").sender
        reports = SenderReports(sound, self._call, PLAYED_RATE, delay=OPUS_AHEAD)
        attach(sound, reports)
        self._sound.on_sent = reports.sent
        reports = SenderReports(pictures, self._call, PICTURE_RATE)
        attach(pictures, reports, self._pictures.want_whole, self._pictures.on_estimate)
        self._pictures.on_sent = reports.sent
        for track in (self._sound, self._pictures):
            track.on("ended", self._on_track_ended)
        connection.on("connectionstatechange", self._on_state)
        connection.on("track", self._on_track)
        connection.on("datachannel", self._on_channel)

        await connection.setRemoteDescription(RTCSessionDescription(self._offer.sdp, "offer"))
        if self._uses_candidates:
            transport = connection.getTransceivers()[0].receiver.transport.transport
            for candidate in self._offer.candidates:
                await transport.addRemoteCandidate(candidate)
        await gather(connection, self._reach, is_firefox=self._offer.is_firefox)
        # what events.parse takes, so that a client knows before it sends
        return connection.localDescription.sdp.replace(
            f"a=max-message-size:{LOCAL_MAX_MESSAGE_SIZE}", f"a=max-message-size:{MAX_EVENT_BYTES}"
        )

    def play(self, block: Block) -> None:
        if self._is_over:
            return
        self._call.start(block.at)
        self._last_at = block.at
        self._sound.blocks.put(block)
        for picture in block.pictures:
            self._pictures.pictures.put(picture)

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

    async def leave(self, patience_s: float) -> None:
        """Close once the caller has gone by itself, which the last event told it to, or does not.

        SCTP says nobody when the other side has read everything; this is how it is made sure.
        """
        try:
            async with asyncio.timeout(patience_s):
                await self._gone.wait()
        except TimeoutError:
            pass
        await self.close()

    async def close(self) -> None:
        """Free everything; idempotent, and complete even if its caller is cancelled."""
        self._is_over = True
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._gone.set()
        self._waiting.clear()
        hearing = set(self._hearing)
        for task in hearing:
            task.cancel()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            log.exception("connection_does_not_close")
        if hearing:
            await asyncio.wait(hearing)
        for track in (self._sound, self._pictures):
            track.stop()

    # What aiortc tells

    def _on_state(self) -> None:
        match self._connection.connectionState:
            case "connected" if not self._is_connected:
                self._is_connected = True
                if not self._is_over:
                    self._listener.connected(self)
            case "failed" | "closed":
                self._lose()
            case _:
                pass

    def _on_track_ended(self) -> None:
        if self._is_connected:  # the caller has gone, or the track has said what failed
            self._lose()

    def _lose(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            if not self._is_over:
                self._is_over = True
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
