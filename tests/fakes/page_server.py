"""A gateway for tests of the page: files, headers and WebRTC are real, calls follow a script."""

import asyncio
import json
import mimetypes
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import aioice.ice
import numpy as np
import uvicorn
from aiortc import (
    MediaStreamTrack,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from avatar.cast.characters import CAST
from avatar.cast.profiles import ASSETS
from services.gateway.http import SECURITY_HEADERS, WEB
from services.gateway.problems import problem

FPS = 25
SIZE = 256
SOUND_RATE = 48_000
BLOCK = 960
MODELS = ["hearing: Whisper tiny.en", "chat: SmolLM2-135M-Instruct", "voice: hibari-tts heart"]
Event = dict[str, Any]


@dataclass
class PageSession:
    """One call, as the script and the browser make it."""

    id: str
    token: str
    avatar: str
    items: list[dict[str, str]] = field(default_factory=list)
    received: list[Event] = field(default_factory=list)  # without heartbeats
    num_beats: int = 0
    num_offers: int = 0
    offer: str = ""
    is_deaf: bool = False  # answers no heartbeat, as across a cut network
    is_deleted: bool = False
    loudness: list[float] = field(default_factory=list)  # RMS of each 20 ms of the microphone
    fps: float = FPS
    peer: RTCPeerConnection | None = None
    channel: RTCDataChannel | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    num_events: int = 0

    def emit(self, type: str, **fields: object) -> None:
        """Send one event to the browser."""
        assert self.channel is not None
        self.num_events += 1
        about = {"event_id": f"e{self.num_events}", "session_id": self.id}
        fields.setdefault("t_ms", 1000 * self.num_events)
        self.channel.send(json.dumps({"type": type, **about, **fields}))

    async def until(self, holds: Callable[["PageSession"], bool], seconds: float = 20) -> None:
        """Wait until something is true of this session.

        Raises:
            TimeoutError: It did not become true in time.
        """
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: holds(self))

    async def heard(self, type: str, count: int = 1) -> list[Event]:
        """The browser's events of this type, as soon as there are `count`."""
        await self.until(lambda _: len(self._of(type)) >= count)
        return self._of(type)

    async def connected(self, offers: int = 1) -> None:
        """The browser has offered so often, and its channel is open."""
        await self.until(lambda s: s.num_offers >= offers and s.is_open)

    @property
    def is_open(self) -> bool:
        return self.channel is not None and self.channel.readyState == "open"

    def begin_answer(self, response: str, sentence: str, word_ms: int = 300) -> None:
        """The first sentence of an answer begins to sound, a word each `word_ms`."""
        self.emit("response.created", response={"id": response})
        self.emit("avatar.state", state="speaking")
        self.emit("output_audio_buffer.started", response_id=response)
        self.emit("avatar.playback.started", response_id=response)
        self.say(response, sentence, word_ms)

    def say(self, response: str, sentence: str, word_ms: int = 300) -> None:
        words = [
            {"text": word, "start_ms": word_ms * index, "end_ms": word_ms * (index + 1)}
            for index, word in enumerate(sentence.split())
        ]
        name = "response.output_audio_transcript.delta"
        self.emit(name, response_id=response, delta=sentence, words=words)

    def end_answer(self, response: str, transcript: str) -> None:
        """It was heard to its end."""
        self.emit("output_audio_buffer.stopped", response_id=response)
        name = "response.output_audio_transcript.done"
        self.emit(name, response_id=response, transcript=transcript)
        self._finish(response, "completed", transcript, interrupted=False)
        self.items.append({"role": "assistant", "text": transcript})

    def cut_answer(self, response: str, heard: str) -> None:
        """It was interrupted after these words."""
        self.emit("output_audio_buffer.cleared", response_id=response)
        self.emit("conversation.item.truncated", item_id=response, audio_end_ms=900, text=heard)
        self._finish(response, "cancelled", heard, interrupted=True)
        self.items.append({"role": "assistant", "text": heard})

    def hear_caller(self, item: str, text: str) -> None:
        """The caller has said this."""
        self.emit("input_audio_buffer.speech_stopped", item_id=item)
        name = "conversation.item.input_audio_transcription.completed"
        self.emit(name, item_id=item, transcript=text)
        self.items.append({"role": "user", "text": text})

    def take_typed(self, text: str) -> None:
        """A typed message is part of the conversation now."""
        content = [{"type": "input_text", "text": text}]
        item = {"id": secrets.token_hex(4), "type": "message", "role": "user", "content": content}
        self.emit("conversation.item.created", item=item)
        self.items.append({"role": "user", "text": text})

    def end(self, reason: str) -> None:
        """The server ends the call, and knows it no more."""
        self.is_deleted = True
        self.emit("avatar.ended", reason=reason)

    async def drop(self) -> None:
        """The connection is gone without a word."""
        peer, self.peer, self.channel = self.peer, None, None
        if peer is not None:
            await peer.close()

    def _finish(self, response: str, status: str, heard: str, *, interrupted: bool) -> None:
        self.emit(
            "avatar.playback.finished",
            response_id=response,
            position_ms=900,
            interrupted=interrupted,
            text_heard=heard,
        )
        self.emit("response.done", response={"id": response, "status": status})
        self.emit("avatar.state", state="idle")

    def _of(self, type: str) -> list[Event]:
        return [event for event in self.received if event["type"] == type]


@dataclass
class PageServer:
    """What the gateway would be asked; tests set how it answers."""

    url: str = ""
    waiting_for: list[str] = field(default_factory=list)
    key: str = ""  # not "": nobody calls without it
    busy_for_s: int = 0  # > 0: full, with this Retry-After
    line: list[int] = field(default_factory=list)  # places told one after the other
    num_gone: int = 0
    grace_s: float = 30
    has_previews: bool = False
    sessions: list[PageSession] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    num_refused: int = 0
    asked: list[str] = field(default_factory=list)

    async def session(self, number: int = 0) -> PageSession:
        """The session of that number, as soon as it is connected."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: len(self.sessions) > number)
        session = self.sessions[number]
        await session.connected()
        return session

    async def refused(self, count: int) -> None:
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: self.num_refused >= count)

    async def move_up(self, *line: int) -> None:
        """Who waits is told the first of `line`; gets its session where that is empty."""
        async with self.changed:
            self.line = list(line)
            self.changed.notify_all()

    def of(self, request: Request) -> PageSession | None:
        """Whom a request is about, if its token is right and the call is not over."""
        for session in self.sessions:
            is_its = request.headers.get("authorization") == f"Bearer {session.token}"
            if session.id == request.path_params["id"] and is_its and not session.is_deleted:
                return session
        return None


@asynccontextmanager
async def page_server() -> AsyncIterator[PageServer]:
    """A server on a free port of loopback; its media stay on 127.0.0.1."""
    server = PageServer()
    listener = socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        make_app(server),
        lifespan="off",
        log_config=None,
        access_log=False,
        headers=SECURITY_HEADERS,
        ws="none",
    )
    running = uvicorn.Server(config)
    real_addresses = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    serving = asyncio.create_task(running._serve(sockets=[listener]))  # leaves signals alone
    try:
        yield server
    finally:
        for session in server.sessions:
            await session.drop()
        running.force_exit = running.should_exit = True
        await serving
        listener.close()
        aioice.ice.get_host_addresses = real_addresses


def make_app(server: PageServer) -> FastAPI:
    """The routes of the gateway that the page knows."""
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    @app.get("/web/{name}")
    async def web(name: str) -> Response:
        if name not in {path.name for path in WEB.iterdir()}:
            return problem(404, "NOT_FOUND", name)
        server.asked.append(name)
        return FileResponse(WEB / name, media_type=mimetypes.guess_type(name)[0])

    @app.get("/readyz")
    async def readyz() -> Response:
        if server.waiting_for:
            return problem(503, "NOT_READY", "waiting", server.waiting_for)
        return JSONResponse({"status": "ready", "models": MODELS})

    @app.get("/v1/avatars")
    async def avatars() -> list[dict[str, str]]:
        return [
            {
                "id": each.id,
                "display_name": each.display_name,
                "description": each.description,
                "portrait": f"/v1/avatars/{each.id}/portrait.png",
                **(
                    {"preview": f"/v1/avatars/{each.id}/preview.mp4"} if server.has_previews else {}
                ),
            }
            for each in CAST
        ]

    @app.get("/v1/avatars/{name}/{file}")
    async def asset(name: str, file: str) -> Response:
        path = ASSETS / "tiny" / name / file
        return FileResponse(path) if path.is_file() else problem(404, "NOT_FOUND", file)

    @app.post("/v1/sessions")
    async def create(request: Request) -> Response:
        if server.key and request.headers.get("authorization") != f"Bearer {server.key}":
            return problem(401, "UNAUTHENTICATED", "this server asks for a key")
        if server.busy_for_s:
            server.num_refused += 1
            async with server.changed:
                server.changed.notify_all()
            refusal = problem(503, "NO_FREE_SLOT", "both lines are taken")
            refusal.headers["retry-after"] = str(server.busy_for_s)
            return refusal
        body = await request.json()
        return StreamingResponse(opened(body["avatar"]), media_type="text/event-stream")

    async def opened(avatar: str) -> AsyncIterator[str]:
        """The places in line as the test lets them come, then the session."""
        try:
            while server.line:
                place = {"position": server.line[0], "waiting": 9, "estimate_s": 75.0}
                yield event_text("avatar.queue", place)
                async with server.changed:
                    await server.changed.wait()
        except asyncio.CancelledError:
            server.num_gone += 1
            raise
        session = PageSession(secrets.token_hex(4), secrets.token_hex(8), avatar)
        server.sessions.append(session)
        async with server.changed:
            server.changed.notify_all()
        made = {
            "id": session.id,
            "token": session.token,
            "avatar": session.avatar,
            "models": MODELS,
            "ice_servers": [],
            "limits": {"idle_s": 300, "grace_s": server.grace_s, "session_s": 1800},
            "profile": {"width": SIZE, "height": SIZE, "fps": FPS, "chunk_s": 0.48},
        }
        yield event_text("session.created", {"session": made})

    @app.post("/v1/sessions/{id}/call")
    async def call(request: Request) -> Response:
        session = server.of(request)
        if session is None:
            return problem(404, "NOT_FOUND", "there is no such call")
        answer = await _answer(session, (await request.body()).decode())
        location = {"location": f"/v1/sessions/{session.id}/call"}
        return Response(answer, 201, location, media_type="application/sdp")

    @app.post("/v1/sessions/{id}/viewer-tokens")
    async def let_watch(request: Request) -> Response:
        session = server.of(request)
        if session is None:
            return problem(404, "NOT_FOUND", "there is no such call")
        link = f"/watch?session={session.id}#tmv_test"
        return JSONResponse({"token": "tmv_test", "watch": link}, 201)

    @app.delete("/v1/sessions/{id}")
    async def delete(request: Request) -> Response:
        session = server.of(request)
        if session is None:
            return problem(404, "NOT_FOUND", "there is no such call")
        session.is_deleted = True
        async with session.changed:
            session.changed.notify_all()
        return Response(status_code=204)

    return app


async def _answer(session: PageSession, offer: str) -> str:
    """A new peer in place of the old one, which goes on with the session."""
    await session.drop()
    session.offer = offer
    peer = session.peer = RTCPeerConnection()
    tell = asyncio.get_running_loop()
    hearing: set[asyncio.Task[None]] = set()

    async def news() -> None:
        async with session.changed:
            session.changed.notify_all()

    def changed() -> None:
        task = tell.create_task(news())
        hearing.add(task)
        task.add_done_callback(hearing.discard)

    @peer.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            task = tell.create_task(_listen(session, track, changed))
            hearing.add(task)
            task.add_done_callback(hearing.discard)

    @peer.on("datachannel")
    def on_channel(channel: RTCDataChannel) -> None:
        session.channel = channel
        about = {"avatar": session.avatar, "models": MODELS}
        session.emit("session.created", session=about, items=session.items, state="idle")
        session.emit("avatar.state", state="idle")

        @channel.on("message")
        def on_message(message: str) -> None:
            event = json.loads(message)
            if event["type"] == "avatar.heartbeat":
                session.num_beats += 1
                if not session.is_deaf:
                    channel.send(json.dumps({"type": "avatar.heartbeat", "n": event["n"]}))
            else:
                session.received.append(event)
            changed()

        changed()

    peer.addTrack(_Sound())
    peer.addTrack(_Pictures(session))
    await peer.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    session.num_offers += 1
    return peer.localDescription.sdp


async def _listen(
    session: PageSession, track: MediaStreamTrack, changed: Callable[[], None]
) -> None:
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        assert isinstance(frame, AudioFrame)
        samples = frame.to_ndarray().astype(np.float64) / 32768
        session.loudness.append(float(np.sqrt(np.mean(samples**2))))
        changed()


class _Paced(MediaStreamTrack):
    """A track that goes by the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at: float | None = None

    async def wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._next_at = loop.time() if self._next_at is None else self._next_at + seconds
        await asyncio.sleep(max(0.0, self._next_at - loop.time()))


class _Sound(_Paced):
    """A quiet tone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    async def recv(self) -> AudioFrame:
        await self.wait(BLOCK / SOUND_RATE)
        phase = 2 * np.pi * 330 * (self._at + np.arange(BLOCK)) / SOUND_RATE
        samples = (1000 * np.sin(phase)).astype(np.int16)
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE, self._at
        frame.time_base = Fraction(1, SOUND_RATE)
        self._at += BLOCK
        return frame


class _Pictures(_Paced):
    """A warm colour with a shade that wanders, so that no two frames are alike."""

    kind = "video"

    def __init__(self, session: PageSession) -> None:
        super().__init__()
        self._session = session
        self._ticks = 0
        rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
        self._rows, self._columns = rows, columns

    async def recv(self) -> VideoFrame:
        fps = self._session.fps
        await self.wait(1 / fps)
        turn = self._ticks / 90_000
        centre = 0.5 + 0.25 * np.sin(turn), 0.5 + 0.25 * np.cos(turn)
        far = (self._rows - centre[0]) ** 2 + (self._columns - centre[1]) ** 2
        shade = (255 * np.exp(-6 * far))[..., None]
        pixels = np.clip([60, 90, 110] + shade * [0.7, 0.5, 0.4], 0, 255).astype(np.uint8)
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = self._ticks, Fraction(1, 90_000)
        self._ticks += round(90_000 / fps)
        return frame


def event_text(type_: str, fields: Event) -> str:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n"
