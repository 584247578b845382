"""Somebody who watches a call without a browser: a WHEP player that counts what it gets."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
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

SDP = {"content-type": "application/sdp"}


@dataclass(frozen=True)
class Seat:
    """Where and with what token one watches."""

    http: httpx.AsyncClient
    session: str
    token: str

    @property
    def path(self) -> str:
        return f"/v1/sessions/{self.session}/viewers"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def offered(self, sdp: str | bytes) -> httpx.Response:
        return await self.http.post(self.path, content=sdp, headers=self.headers | SDP)


class Player:
    """One connection; with `decodes` False packets are counted, and nothing is made of them.

    It offers only `video` where that is named.
    """

    def __init__(self, *, decodes: bool = True, video: str = "") -> None:
        self.num_packets: Counter[str] = Counter()
        self.num_bytes: Counter[str] = Counter()
        self.num_frames: Counter[str] = Counter()
        self.offered_s = self.first_picture_s = 0.0
        """Monotonic instants of the offer and of the first picture, or its first packet."""
        self.location = ""
        self.connection = RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self._decodes = decodes
        self.connection.addTransceiver("audio", direction="recvonly")
        pictures = self.connection.addTransceiver("video", direction="recvonly")
        if video:
            codecs = RTCRtpReceiver.getCapabilities("video").codecs  # type: ignore[union-attr]
            pictures.setCodecPreferences([each for each in codecs if each.name == video])
        self._reading: set[asyncio.Task[None]] = set()
        self.connection.on("track", self._on_track)

    @property
    def is_closed(self) -> bool:
        return self.connection.connectionState in ("closed", "failed")

    @asynccontextmanager
    async def watching(self, seat: Seat) -> AsyncIterator["Player"]:
        """Until the block ends; then it leaves by DELETE.

        Raises:
            httpx.HTTPStatusError: It is refused.
        """
        try:
            await self.offer(seat)
            yield self
        finally:
            if self.location:
                with suppress(httpx.HTTPError):  # the server may be gone
                    await seat.http.delete(self.location, headers=seat.headers)
            await self.close()

    async def offer(self, seat: Seat) -> None:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        self.offered_s = time.monotonic()
        response = await seat.offered(self.connection.localDescription.sdp)
        response.raise_for_status()
        self.location = response.headers["location"]
        for transceiver in self.connection.getTransceivers():
            self._tap(transceiver.kind, transceiver.receiver)
        answer = RTCSessionDescription(response.text, "answer")
        await self.connection.setRemoteDescription(answer)

    async def close(self) -> None:
        await self.connection.close()
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._reading.add(asyncio.create_task(self._read(track)))

    async def _read(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                await track.recv()
                self._count_frame(track.kind)

    def _count_frame(self, kind: str) -> None:
        self.num_frames[kind] += 1
        if kind == "video" and not self.first_picture_s:
            self.first_picture_s = time.monotonic()

    def _tap(self, kind: str, receiver: RTCRtpReceiver) -> None:
        take: Any = receiver._handle_rtp_packet

        async def count(packet: RtpPacket, arrival_time_ms: int) -> None:
            self.num_packets[kind] += 1
            self.num_bytes[kind] += len(packet.payload)
            if self._decodes:
                await take(packet, arrival_time_ms=arrival_time_ms)
            elif packet.marker or kind == "audio":  # the last one of a picture
                self._count_frame(kind)

        receiver._handle_rtp_packet = count  # type: ignore[method-assign]
