"""The gateway's HTTP: the page, the same two requests as gRPC, health, readiness, metrics."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, ValidationError

import avatar
from avatar.cast.avatars import is_shipped
from avatar.cast.characters import Character
from avatar.errors import (
    AvatarError,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    TooLarge,
    WrongType,
)
from avatar.telemetry import metrics
from avatar.telemetry.logging import get_logger
from services.gateway import openapi
from services.gateway.guard import Guard
from services.gateway.looks import about, everybody, has_picture, picture_of
from services.gateway.problems import OwnNames, RequestLimit, answer_with_problems
from services.gateway.reach import LOOPBACK, Reach
from services.gateway.talker import (
    ChunkReady,
    Emit,
    ReplySentence,
    Summary,
    Talker,
    TalkStep,
    Transcript,
    VideoPiece,
    find_avatar,
)
from services.settings import AppConfig, Environment, Limits

log = get_logger(__name__)

ROOT = Path(__file__).resolve().parent.parent.parent
WEB = ROOT / "web"
MAX_JSON_BYTES = 64 << 10
MAX_REQUESTS = 128

SECURITY_HEADERS = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("permissions-policy", "microphone=(self), camera=(), geolocation=()"),
]
WEB_TYPES = (".css", ".js", ".json", ".mp4", ".png", ".svg", ".webmanifest", ".woff2")
_WEB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9]+)+")


class SayBody(BaseModel):
    """What POST /v1/say takes."""

    model_config = ConfigDict(extra="forbid")

    text: str
    avatar: str = ""


def make_app(
    talker: Talker,
    config: AppConfig,
    environment: Environment,
    waiting_for: Callable[[], list[str]],
    guard: Guard,
) -> FastAPI:
    """The application; `waiting_for` says what it is not ready without."""
    app = FastAPI(title="TalkingMachines", docs_url=None, redoc_url=None)
    answer_with_problems(app)
    openapi.describe(app, avatar.__version__)
    if Reach(config.host).is_local:  # a page elsewhere must not reach it through a name of its own
        app.add_middleware(OwnNames, names=_own_names(config))

    @app.get("/healthz", **openapi.HEALTHZ)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", **openapi.READYZ)
    async def readyz() -> Response:
        if missing := waiting_for():
            raise NotReady(f"waiting for {', '.join(missing)}", missing)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", **openapi.METRICS)
    async def prometheus(request: Request) -> Response:
        guard.operator(request.headers)
        text = await asyncio.to_thread(metrics.exposition, environment.metrics_dir)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    @app.get("/", **openapi.PAGE)
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/watch", **openapi.WATCH_PAGE)
    async def watch_page() -> FileResponse:
        return FileResponse(WEB / "watch.html", headers={"cache-control": "no-cache"})

    @app.get("/web/{name}", **openapi.WEB)
    async def web(name: str) -> FileResponse:
        path = WEB / name
        is_plain = len(name) <= 64 and _WEB_NAME.fullmatch(name) and path.suffix in WEB_TYPES
        if not is_plain or path.is_symlink() or not path.is_file():
            raise NotFound(f"there is no {name[:64]!r} here")
        # asked again each time, answered 304: files of two versions never meet
        return FileResponse(path, headers={"cache-control": "no-cache"})

    @app.get("/v1/avatars", **openapi.AVATARS)
    async def avatars() -> list[dict[str, str]]:
        people = await everybody(config.avatars_dir)
        return [describe_avatar(character, config) for character in people]

    @app.get("/v1/avatars/{name}/portrait.png", **openapi.PORTRAIT)
    async def portrait(name: str) -> FileResponse:
        return _picture(name, "portrait.png", config)

    @app.get("/v1/avatars/{name}/preview.mp4", **openapi.PREVIEW)
    async def preview(name: str) -> FileResponse:
        return _picture(name, "preview.mp4", config)

    @app.post("/v1/tokens", **openapi.TOKEN)
    async def token(request: Request) -> Response:
        made, seconds = guard.token(guard.caller(request.headers))
        body = {"token": made, "expires_in_s": seconds}
        return JSONResponse(body, 201, {"cache-control": "no-store"})

    @app.post("/v1/say", **openapi.SAY)
    async def say(request: Request) -> Response:
        caller = guard.caller(request.headers)
        expect_type(request, "application/json")
        try:
            body = SayBody.model_validate_json(
                await read_body(request, MAX_JSON_BYTES, config.limits)
            )
        except ValidationError as error:
            raise InvalidInput(f"send JSON with text and avatar: {first_error(error)}") from error
        async with guard.using(caller):
            return await _video(request, lambda emit: talker.say(body.avatar, body.text, emit))

    @app.post("/v1/ask", **openapi.ASK)
    async def ask(request: Request, avatar: str = "") -> Response:
        caller = guard.caller(request.headers)
        expect_type(request, "audio/", "video/", "application/octet-stream")
        find_avatar(avatar, config.avatars_dir)  # before 16 MiB are read
        question = await read_body(request, config.limits.question_bytes, config.limits)
        async with guard.using(caller):
            return await _video(request, lambda emit: talker.ask(avatar, question, emit))

    return app


def _own_names(config: AppConfig) -> list[str]:
    """What a server for its own machine is called there, and by other gateways."""
    given = (config.host, config.stage_host)
    names = (LOOPBACK, "localhost", "[::1]", *(f"[{it}]" if ":" in it else it for it in given))
    return [name.lower() for name in names]


def describe_avatar(character: Character, config: AppConfig) -> dict[str, str]:
    """Who it is, and where its pictures are."""
    path = f"/v1/avatars/{character.id}"
    has_preview = has_picture(config, character.id, "preview.mp4")
    return {
        **about(character),
        "portrait": f"{path}/portrait.png",
        **({"preview": f"{path}/preview.mp4"} if has_preview else {}),
    }


def _picture(name: str, file: str, config: AppConfig) -> FileResponse:
    """Raises NotFound and CorruptFile, as `find_avatar` and `picture_of`."""
    avatar = find_avatar(name, config.avatars_dir).id
    path = picture_of(config, avatar, file)
    if path is None:
        raise NotFound(f"{avatar} has no {file} in profile {config.model.name}")
    # an own one may be made anew at any time
    kept = "max-age=3600" if is_shipped(avatar) else "no-cache"
    return FileResponse(path, headers={"cache-control": kept})


class HttpServer:
    """uvicorn on sockets of ours, inside an event loop that is not its own."""

    def __init__(
        self,
        app: FastAPI,
        *listeners: socket.socket,
        most_in_line: int = 0,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        """Each of `most_in_line` callers may have a request besides those of everybody else."""
        self._server = _QuietServer(
            uvicorn.Config(
                # uvicorn's own limit refuses without a reason that programs could read
                RequestLimit(app, max_requests + most_in_line),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                headers=SECURITY_HEADERS,
                timeout_graceful_shutdown=2,
                ws="none",
            )
        )
        self._listeners = listeners
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=list(self._listeners)))

    async def close(self) -> None:
        """Idempotent."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
            self._task = None
        for listener in self._listeners:
            listener.close()


class _QuietServer(uvicorn.Server):
    """Leaves signals to whoever runs the process."""

    def install_signal_handlers(self) -> None:
        pass


async def _video(request: Request, talk: Callable[[Emit], Awaitable[None]]) -> Response:
    """Run a request to its video; a browser that goes away cancels it."""
    content = bytearray()
    heard: list[str] = []
    said: list[str] = []
    summary: Summary | None = None

    async def emit(step: TalkStep) -> None:
        nonlocal summary
        match step:
            case VideoPiece(piece):
                content.extend(piece)
            case Transcript(text):
                heard.append(text)
            case ReplySentence(text):
                said.append(text)
            case Summary():
                summary = step
            case ChunkReady():
                pass  # HTTP has no way to tell progress

    talking = asyncio.ensure_future(talk(emit))
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({talking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not talking.done():
            return Response(status_code=499)  # nobody reads it
        talking.result()
    finally:
        for task in (talking, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, AvatarError):
                await task
    assert summary is not None
    headers = {
        "server-timing": f"first;dur={1000 * summary.first_chunk_s:.0f}, "
        f"total;dur={1000 * summary.total_s:.0f}",
        "avatar-models": quote("\n".join(summary.models)),
        # percent-encoded: headers are ASCII
        "avatar-transcript": quote(" ".join(heard)),
        "avatar-reply": quote(" ".join(said)[:2000]),
    }
    return Response(bytes(content), media_type="video/mp4", headers=headers)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request, max_bytes: int, limits: Limits) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload_s):
            async for piece in request.stream():
                body += piece
                if len(body) > max_bytes:
                    raise TooLarge(f"the request is over {max_bytes} bytes; send a shorter one")
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"the request was not complete within {limits.upload_s:g} s"
        ) from error
    return bytes(body)


def expect_type(request: Request, *types: str) -> None:
    """Refuse bodies that a foreign web page could send without being asked first."""
    given = request.headers.get("content-type", "")
    if not given.startswith(types):
        raise WrongType(f"send Content-Type {types[0]}*; {given[:64]!r} was sent")


def first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"
