"""A small server that speaks the OpenAI protocol on loopback, and can misbehave."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from typing import Any, Literal

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from avatar.audio.files import decode, encode_wav

Behaviour = Literal["well", "status", "silent", "cut", "keep_alive", "html", "empty"]


class FakeOpenAI:
    """What it was asked, and how it shall behave; both may be changed while it runs."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = "well"
        self.status = 500
        self.deltas = ["Good", " day! I", " am here.", " Bye."]
        self.finish_reason = "stop"
        self.requests: list[dict[str, Any]] = []
        self.authorization = ""
        self.base_url = ""
        self.closed_early = threading.Event()
        """Set once a client went away in the middle of an answer."""

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body = await request.json()
            self._note(request, body)
            if (refusal := await self._misbehave()) is not None:
                return refusal
            if not body.get("stream"):
                return JSONResponse({"id": "1", "object": "chat.completion", "choices": []})
            return StreamingResponse(self._chat_events(), media_type="text/event-stream")

        @app.post("/v1/audio/transcriptions")
        async def transcriptions(request: Request) -> Response:
            # the standard library reads forms as it reads mail: no package needed
            head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
            form: dict[str, bytes] = {}
            for part in message_from_bytes(head + await request.body()).walk():
                if name := part.get_param("name", header="content-disposition"):
                    form[str(name)] = bytes(part.get_payload(decode=True))
            seconds = len(decode(form["file"])) / 16_000
            self._note(request, {"model": form["model"].decode(), "seconds": seconds})
            if (refusal := await self._misbehave()) is not None:
                return refusal
            return JSONResponse({"text": " What is it? "})

        @app.post("/v1/audio/speech")
        async def speech(request: Request) -> Response:
            self._note(request, await request.json())
            if (refusal := await self._misbehave()) is not None:
                return refusal
            tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(24_000) / 24_000)
            wav = bytearray(encode_wav(tone.astype(np.float32), 24_000))
            wav[4:8] = wav[40:44] = b"\xff\xff\xff\xff"  # lengths unknown, as servers stream it
            return Response(bytes(wav), media_type="audio/wav")

        return app

    def _note(self, request: Request, body: dict[str, Any]) -> None:
        self.authorization = request.headers.get("authorization", "")
        self.requests.append(body)

    async def _misbehave(self) -> Response | None:
        match self.behaviour:
            case "status":
                error = {"message": "secret detail of the server", "type": "server_error"}
                return JSONResponse({"error": error}, self.status)
            case "silent":
                await asyncio.Event().wait()
            case "html":
                return HTMLResponse("<html>a router's login page</html>")
            case _:
                pass
        return None

    async def _chat_events(self) -> AsyncIterator[str]:
        finished = False
        try:
            for delta in [] if self.behaviour == "empty" else self.deltas:
                yield self._event({"content": delta}, None)
                if self.behaviour == "cut":
                    finished = True
                    return
                while self.behaviour == "keep_alive":
                    yield ": keep-alive\n\n"
                    await asyncio.sleep(0.02)
            yield self._event({}, self.finish_reason)
            yield "data: [DONE]\n\n"
            finished = True
        finally:
            if not finished:
                self.closed_early.set()

    def _event(self, delta: dict[str, str], finish_reason: str | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
        return f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"


@contextmanager
def running_openai() -> Iterator[FakeOpenAI]:
    """The server on a free port of loopback, in a thread, until the block ends."""
    fake = FakeOpenAI()
    config = uvicorn.Config(
        fake.app(), host="127.0.0.1", port=0, log_level="error", ws="none", lifespan="off"
    )
    server = _Announcing(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert server.is_up.wait(20), "the fake server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        fake.base_url = f"http://127.0.0.1:{port}/v1"
        yield fake
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.is_up.set()
