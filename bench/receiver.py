"""A caller without a browser: opens a call, speaks, and keeps all that it gets, with its times."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket, RtpPacket
from av import AudioFrame, VideoFrame
from numpy.typing import NDArray

from avatar.errors import SessionLost
from bench.receiver_mic import Mic
from bench.receiver_tracks import PICTURE_RATE, SOUND_RATE, Track

HEARTBEAT_S = 0.25
WAIT_S = 30.0
Fields = dict[str, Any]
Picture = TypeVar("Picture")


@dataclass(frozen=True)
class Told:
    """An event of the data channel, and the monotonic instant at which it arrived."""

    at_s: float
    event: Fields

    @property
    def type(self) -> str:
        return str(self.event["type"])


class Booking:
    """One session of the gateway, over HTTP; connections come and go in it."""

    def __init__(self, http: httpx.AsyncClient, created: Fields) -> None:
        self.http = http
        self.created = created
        self.path = f"/v1/sessions/{created['id']}"
        self.headers = {"authorization": f"Bearer {created['token']}"}

    async def describe(self) -> httpx.Response:
        return await self.http.get(self.path, headers=self.headers)

    async def end(self) -> httpx.Response:
        return await self.http.delete(self.path, headers=self.headers)

    async def answer(self, offer: str) -> str:
        """The gateway's SDP for this one.

        Raises:
            httpx.HTTPStatusError: It refuses.
        """
        headers = self.headers | {"content-type": "application/sdp"}
        response = await self.http.post(f"{self.path}/call", content=offer, headers=headers)
        response.raise_for_status()
        return response.text


@asynccontextmanager
async def booked(url: str, avatar: str = "", key: str = "") -> AsyncIterator[Booking]:
    """A session until the block ends; `key` is for a server that asks for one.

    Raises:
        httpx.HTTPStatusError: There is no free place.
    """
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, trust_env=False) as http:
        body = {"avatar": avatar} if avatar else {}
        headers = {"authorization": f"Bearer {key}"} if key else {}
        response = await http.post("/v1/sessions", json=body, headers=headers)
        response.raise_for_status()
        booking = Booking(http, response.json())
        try:
            yield booking
        finally:
            with suppress(httpx.HTTPError):  # it may be over, and so may the server
                await booking.end()


def grey(frame: VideoFrame) -> NDArray[np.uint8]:
    """(H, W) luma."""
    return frame.to_ndarray(format="gray").astype(np.uint8, copy=False)


class Receiver(Generic[Picture]):
    """One connection; `look` makes of each decoded picture what shall be kept of it."""

    def __init__(self, look: Callable[[VideoFrame], Picture], heartbeat: bool = True) -> None:
        self.mic = Mic()
        self.sound: Track[NDArray[np.int16]] = Track(SOUND_RATE)
        self.pictures: Track[Picture] = Track(PICTURE_RATE)
        self.told: list[Told] = []
        self._look = look
        self._beats = heartbeat
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._events = self._peer.createDataChannel("events")
        self._events.on("message", self._on_message)
        self._peer.addTrack(self.mic)
        self._peer.addTransceiver("video", direction="recvonly")

    @asynccontextmanager
    async def connected(self, booking: Booking) -> AsyncIterator["Receiver[Picture]"]:
        """In the call until the block ends; the session goes on after it."""
        try:
            await self._connect(booking)
            yield self
        finally:
            await self.close()

    async def close(self) -> None:
        """Idempotent; raises what went wrong while receiving."""
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._peer.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    # What the caller does

    def send(self, type: str, **fields: object) -> float:
        """Send an event; returns the monotonic instant."""
        now = time.monotonic()
        self._events.send(json.dumps({"type": type, **fields}))
        return now

    def say(self, text: str) -> float:
        """Have the avatar say it as it stands."""
        return self.send("avatar.say", text=text)

    def ask(self, text: str) -> float:
        """Type a question."""
        content = [{"type": "input_text", "text": text}]
        self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})  # fmt: skip  # noqa: E501
        return self.send("response.create")

    def stop(self) -> float:
        """The stop button."""
        return self.send("response.cancel")

    def fall_silent(self) -> None:
        """No more heartbeats: to the gateway, the network is cut."""
        self._beats = False

    # What the caller is told

    async def event(
        self,
        type: str,
        since: int = 0,
        wait_s: float = WAIT_S,
        where: Callable[[Fields], bool] = lambda event: True,
    ) -> Told:
        """The first event of that type among `told[since:]`; waits for it.

        Raises:
            TimeoutError: It does not come.
            SessionLost: The call ends before.
        """
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    self._news.clear()
                    for told in self.told[since:]:
                        if told.type == type and where(told.event):
                            return told
                    if self.told and self.told[-1].type == "avatar.ended":
                        reason = self.told[-1].event["reason"]
                        raise SessionLost(f"the call ended, {reason}, before {type} came")
                    await self._news.wait()
        except TimeoutError as error:
            last = ", ".join(told.type for told in self.told[-8:])
            state = self._peer.connectionState
            raise TimeoutError(
                f"no {type} within {wait_s:g} s; the connection is {state}; the last were: {last}"
            ) from error

    async def is_over(self, answer: str, wait_s: float = WAIT_S) -> Told:
        """The end of this response, by its id."""
        return await self.event("response.done", 0, wait_s, lambda e: e["response"]["id"] == answer)

    # The connection

    async def _connect(self, booking: Booking) -> None:
        receivers = {each.kind: each.receiver for each in self._peer.getTransceivers()}
        _tap(receivers["audio"], self.sound)
        _tap(receivers["video"], self.pictures)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        answer = await booking.answer(self._peer.localDescription.sdp)
        await self._peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self._start(self._take_sound(receivers["audio"].track))
        self._start(self._take_pictures(receivers["video"].track))
        await self.event("session.created")
        self._start(self._beat())

    def _start(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _beat(self) -> None:
        n = 0
        while self._events.readyState == "open":
            if self._beats:
                self.send("avatar.heartbeat", n=n)
            n += 1
            await asyncio.sleep(HEARTBEAT_S)

    def _on_message(self, message: str | bytes) -> None:
        event = json.loads(message)
        if event["type"] != "avatar.heartbeat":
            self.told.append(Told(time.monotonic(), event))
            self._news.set()

    async def _take_sound(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                assert frame.pts is not None
                pcm = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
                self.sound.note_decoded(frame.pts, pcm.astype(np.int16, copy=False))
                self.mic.overhear(self.sound.received[-1].what)

    async def _take_pictures(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, VideoFrame)
                assert frame.pts is not None
                self.pictures.note_decoded(frame.pts, self._look(frame))


def _tap(receiver: RTCRtpReceiver, track: "Track[Any]") -> None:
    """Have the receiver note packets and reports, and leave its timestamps as they came.

    aiortc has no public way to either; it looks both methods and the mapper up on the instance.
    """
    take_rtp, take_rtcp = receiver._handle_rtp_packet, receiver._handle_rtcp_packet

    async def note_rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
        if packet.payload:
            track.note_packet(packet.timestamp, time.monotonic())
        await take_rtp(packet, arrival_time_ms=arrival_time_ms)

    async def note_rtcp(packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            track.note_report(info.rtp_timestamp, info.ntp_timestamp)
        await take_rtcp(packet)

    receiver._handle_rtp_packet = note_rtp  # type: ignore[method-assign]
    receiver._handle_rtcp_packet = note_rtcp  # type: ignore[method-assign]
    receiver._RTCRtpReceiver__timestamp_mapper = track.unwrapper  # type: ignore[attr-defined]
