"""A caller made by hand: what it offers, sends and breaks is the test's; media are only counted."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from tests.fakes.graph import until

Answer = Callable[[str], Awaitable[str]]


class Caller:
    """Listens; with a `microphone`, speaks too. Offers only `video`, where that is named."""

    def __init__(self, microphone: MediaStreamTrack | None = None, video: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        self.packets: dict[str, list[RtpPacket]] = {"audio": [], "video": []}
        self.num_frames = {"audio": 0, "video": 0}
        self.lose: Callable[[RtpPacket], bool] = lambda packet: False
        """Packets for which it says so never arrive."""
        self.connection = RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        if microphone is not None:
            self.connection.addTrack(microphone)
        else:
            self.connection.addTransceiver("audio", direction="recvonly")
        pictures = self.connection.addTransceiver("video", direction="recvonly")
        if video:
            codecs = RTCRtpReceiver.getCapabilities("video").codecs  # type: ignore[union-attr]
            pictures.setCodecPreferences([each for each in codecs if each.name == video])
        # after the media: aiortc closes the transport of a channel that was there before them
        self.channel = self.connection.createDataChannel("events")
        self.channel.on("message", lambda text: self.events.append(json.loads(text)))
        self._reading: set[asyncio.Task[None]] = set()
        self.connection.on("track", self._on_track)

    @asynccontextmanager
    async def connected(self, answer: Answer) -> AsyncIterator["Caller"]:
        """In the call until the block ends; its channel is open."""
        try:
            await self.offer(answer)
            await until(lambda: self.channel.readyState == "open")
            yield self
        finally:
            await self.close()

    async def offer(self, answer: Answer) -> None:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        sdp = await answer(self.connection.localDescription.sdp)
        for transceiver in self.connection.getTransceivers():
            self._tap(transceiver.receiver, self.packets[transceiver.kind])
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def close(self) -> None:
        await self.connection.close()
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    def send(self, type: str, **fields: object) -> None:
        self.channel.send(json.dumps({"type": type, **fields}))

    def told(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    async def event(self, type: str) -> dict[str, Any]:
        """The first event of that type; waits for it."""
        await until(lambda: bool(self.told(type)))
        return self.told(type)[0]

    @property
    def is_closed(self) -> bool:
        return self.connection.connectionState == "closed"

    @property
    def pictures(self) -> RTCRtpReceiver:
        return next(
            each.receiver for each in self.connection.getTransceivers() if each.kind == "video"
        )

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._reading.add(asyncio.create_task(self._read(track)))

    async def _read(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                await track.recv()
                self.num_frames[track.kind] += 1

    def _tap(self, receiver: RTCRtpReceiver, packets: list[RtpPacket]) -> None:
        take = receiver._handle_rtp_packet

        async def note(packet: RtpPacket, arrival_time_ms: int) -> None:
            if not self.lose(packet):
                packets.append(packet)
                await take(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = note  # type: ignore[method-assign]
