"""HTTP of calls: sessions opened, described and ended, connections offered and hung up."""

from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from avatar.cast.avatars import is_shipped, own_file
from avatar.errors import InvalidInput, NotFound
from services.gateway.call import Call
from services.gateway.calls import Calls
from services.gateway.http import MAX_JSON_BYTES, PORTRAITS, expect_type, first_error, read_body
from services.gateway.http_line import in_line, wants_events
from services.settings import AppConfig, IceServer

NO_STORE = {"cache-control": "no-store"}


class OpenBody(BaseModel):
    """What POST /v1/sessions takes; nothing at all will do too."""

    model_config = ConfigDict(extra="forbid")

    avatar: str = ""


def add_call_routes(
    app: FastAPI, calls: Calls, config: AppConfig, ice_servers: tuple[IceServer, ...] = ()
) -> None:
    """Serve /v1/sessions and what is below it."""

    @app.post("/v1/sessions")
    async def open_session(request: Request) -> Response:
        _refuse_other_sites(request)
        body = await read_body(request, MAX_JSON_BYTES, config.limits)
        if body:
            expect_type(request, "application/json")
        try:
            asked = OpenBody.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise InvalidInput(
                f"send JSON with avatar, or nothing: {first_error(error)}"
            ) from error
        if wants_events(request):
            return await in_line(lambda tell: calls.open(asked.avatar, tell), opened)
        call, token = await calls.open(asked.avatar)
        headers = {**NO_STORE, "location": f"/v1/sessions/{call.id}"}
        return JSONResponse(opened(call, token), 201, headers)

    def opened(call: Call, token: str) -> dict[str, object]:
        about = call.live.describe()
        avatar = str(about["avatar"])
        return {
            "id": call.id,
            "token": token,
            "avatar": avatar,
            "models": about.get("models", []),
            "ice_servers": [_for_browsers(server) for server in ice_servers],
            "limits": {
                "idle_s": config.limits.idle_s,
                "grace_s": config.limits.grace_s,
                "session_s": config.limits.session_s,
            },
            "profile": _profile(config, avatar),
        }

    @app.get("/v1/sessions/{id}")
    async def describe_session(request: Request, id: str) -> Response:
        return JSONResponse(_found(request, id).describe(), headers=NO_STORE)

    @app.delete("/v1/sessions/{id}")
    async def end_session(request: Request, id: str) -> Response:
        await calls.end(_found(request, id))
        return Response(status_code=204)

    @app.post("/v1/sessions/{id}/call")
    async def connect(request: Request, id: str) -> Response:
        call = _found(request, id)
        expect_type(request, "application/sdp")
        offer = await read_body(request, config.limits.sdp_bytes, config.limits)
        headers = {**NO_STORE, "location": f"/v1/sessions/{call.id}/call"}
        return Response(await calls.connect(call, offer), 201, headers, "application/sdp")

    @app.delete("/v1/sessions/{id}/call")
    async def hang_up(request: Request, id: str) -> Response:
        if not _found(request, id).hang_up():
            raise NotFound("nobody is connected to this session; POST an offer to connect")
        return Response(status_code=204)

    def _found(request: Request, id: str) -> Call:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return calls.find(id, token.strip() if scheme.lower() == "bearer" else "")


def _refuse_other_sites(request: Request) -> None:
    """A page elsewhere may send a request without a body unasked, and would take a place."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, f"a page of {origin[:64]!r} may not open calls here")


def _for_browsers(server: IceServer) -> dict[str, Any]:
    """As RTCConfiguration.iceServers has it."""
    entry: dict[str, Any] = {"urls": list(server.urls)}
    if server.username is not None:
        entry["username"] = server.username
    if server.credential is not None:
        entry["credential"] = server.credential.get_secret_value()
    return entry


def _profile(config: AppConfig, avatar: str) -> dict[str, float]:
    """What the video will be; its size is that of the avatar's portrait, where there is one."""
    clock = config.clock
    profile: dict[str, float] = {"fps": clock.fps, "chunk_s": clock.chunk_s}
    path = PORTRAITS / config.profile / avatar / "portrait.png"
    if not is_shipped(avatar):
        path = own_file(config.avatars_dir, avatar, "portrait.png")
    if path.is_file():
        with Image.open(path) as portrait:  # reads the header only
            profile |= {"width": portrait.width, "height": portrait.height}
    return profile
