"""One WebRTC connection, from its offer to its end: sends what its session's feed gives it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc import RTCSessionDescription as Description
from av.packet import Packet

from avatar.telemetry.logging import get_logger
from services.gateway.encoders import OPUS_AHEAD, PICTURE_RATE
from services.gateway.feed import Feed
from services.gateway.media import PLAYED_RATE
from services.gateway.reach import Reach, gather
from services.gateway.sdp import Offer, PictureCodec
from services.gateway.senders import CallClock, SenderReports, attach
from services.gateway.tracks import PictureTrack, SoundTrack

log = get_logger(__name__)

CLOSE_S: Final = 5.0


class Connection(ABC):
    """An `Outlet` of its feed; what it receives is up to who derives from it."""

    SOUND: ClassVar[str] = "sendonly"
    """The direction of sound."""

    def __init__(
        self, offer: Offer, feed: Feed, reach: Reach, ice_servers: Sequence[RTCIceServer] = ()
    ) -> None:
        self._offer = offer
        self._feed = feed
        self._reach = reach
        self._call = CallClock()
        self._connection = RTCPeerConnection(
            RTCConfiguration(
                # never None: aiortc would ask a public STUN server
                iceServers=list(ice_servers),
                bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
            )
        )
        self._sound = SoundTrack()
        self._pictures = PictureTrack(lambda: feed.want_whole(self))
        self._uses_candidates = bool(ice_servers)
        self._is_connected = False
        self._is_over = False
        self._gone = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None

    @property
    def codec(self) -> PictureCodec:
        return self._offer.picture_codec

    @property
    def stats(self) -> dict[str, int]:
        """What was dropped, and the rate encoded for."""
        num_late = self._feed.num_dropped(self.codec)
        return {
            "blocks_dropped": self._sound.num_dropped,
            "pictures_dropped": num_late + self._pictures.num_dropped,
            "bits_per_s": self._feed.bits_per_s(self.codec),
        }

    async def answer(self) -> str:
        """The SDP to answer the offer with; the connection comes about by itself afterwards."""
        connection, feed = self._connection, self._feed
        sound = connection.addTransceiver(self._sound, direction=self.SOUND).sender
        pictures = connection.addTransceiver(self._pictures, direction="sendonly").sender
        reports = SenderReports(sound, self._call, PLAYED_RATE, delay=OPUS_AHEAD)
        attach(sound, reports)
        self._sound.on_sent = reports.sent
        reports = SenderReports(pictures, self._call, PICTURE_RATE)
        attach(
            pictures,
            reports,
            lambda: feed.want_whole(self),
            lambda bits_per_s: feed.on_estimate(self, bits_per_s),
        )
        self._pictures.on_sent = reports.sent
        for track in (self._sound, self._pictures):
            track.on("ended", self._on_track_ended)
        connection.on("connectionstatechange", self._on_state)
        self._prepare(connection)

        await connection.setRemoteDescription(Description(self._offer.sdp, "offer"))
        if self._uses_candidates:
            transport = connection.getTransceivers()[0].receiver.transport.transport
            for candidate in self._offer.candidates:
                await transport.addRemoteCandidate(candidate)
        await gather(connection, self._reach, is_firefox=self._offer.is_firefox)
        sdp: str = connection.localDescription.sdp
        return sdp

    def take_sound(self, packet: "Packet[Any]") -> None:
        assert packet.pts is not None
        self._call.start(packet.pts)  # its unit is the tick; each block's sound comes first
        self._sound.put(packet)

    def take_picture(self, packet: "Packet[Any]") -> None:
        self._pictures.put(packet)

    def fail(self) -> None:
        self._lose()

    async def leave(self, patience_s: float) -> None:
        """Close once the other side has gone by itself, which it was told to, or does not.

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
        self._feed.leave(self)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            log.exception("connection_does_not_close")
        for track in (self._sound, self._pictures):
            track.stop()

    # Of who derives from it

    @abstractmethod
    def _prepare(self, connection: RTCPeerConnection) -> None:
        """Listen to what the other side sends, if anything."""

    @abstractmethod
    def _connected(self) -> None:
        """Media can flow from now on; called once."""

    @abstractmethod
    def _lost(self) -> None:
        """The other side has gone, or never came; called once, and not after `close`."""

    # What aiortc tells

    def _on_state(self) -> None:
        match self._connection.connectionState:
            case "connected" if not self._is_connected:
                self._is_connected = True
                if not self._is_over:
                    self._connected()
            case "failed" | "closed":
                self._lose()
            case _:
                pass

    def _on_track_ended(self) -> None:
        if self._is_connected:  # the other side has gone
            self._lose()

    def _lose(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            self._feed.leave(self)
            if not self._is_over:
                self._is_over = True
                self._lost()
