"""HTTP of calls: sessions opened, described and ended, connections offered and hung up."""

from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from avatar.errors import InvalidInput, NotFound, PermissionDenied
from avatar.media import WorkerId
from services.gateway import openapi
from services.gateway.admission import Tell
from services.gateway.call import Call
from services.gateway.calls import Calls
from services.gateway.guard import Guard
from services.gateway.http import MAX_JSON_BYTES, expect_type, first_error, read_body
from services.gateway.http_line import in_line, wants_events
from services.gateway.http_owner import NO_STORE, Elsewhere, Owner, for_browsers
from services.gateway.http_viewers import add_viewer_routes
from services.gateway.looks import video_profile
from services.gateway.neighbours import FORWARDED
from services.gateway.once import HEADER, Once, Open, name_of
from services.settings import AppConfig, IceServer


class OpenBody(BaseModel):
    """What POST /v1/sessions takes; nothing at all will do too."""

    model_config = ConfigDict(extra="forbid")

    avatar: str = ""


def add_call_routes(
    app: FastAPI,
    calls: Calls,
    config: AppConfig,
    guard: Guard,
    once: Once,
    elsewhere: Elsewhere | None = None,
    ice_servers: tuple[IceServer, ...] = (),
) -> None:
    """Serve /v1/sessions and what is below it, also for sessions of other gateways."""
    owner = Owner(calls, elsewhere)
    add_viewer_routes(app, calls, config, owner, ice_servers)

    @app.post("/v1/sessions", **openapi.OPEN_SESSION)
    async def open_session(request: Request) -> Response:
        _refuse_other_sites(request)
        caller = guard.caller(request.headers)
        body = await read_body(request, MAX_JSON_BYTES, config.limits)
        if body:
            expect_type(request, "application/json")
        try:
            asked = OpenBody.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise InvalidInput(
                f"send JSON with avatar, or nothing: {first_error(error)}"
            ) from error

        async def open_call(tell: Tell | None) -> tuple[Call, str]:
            return await calls.open(asked.avatar, tell, caller)

        if HEADER not in request.headers:
            return await answered(request, open_call)
        name = name_of(caller, request.headers[HEADER])
        if (theirs := await first_asked(request, body, name)) is not None:
            return theirs
        whole = f"{asked.avatar} {wants_events(request)}"
        return await answered(request, lambda tell: once.open(name, whole, open_call, tell))

    async def answered(request: Request, open_call: Open) -> Response:
        if wants_events(request):
            return await in_line(open_call, opened)
        call, token = await open_call(None)
        headers = {**NO_STORE, "location": f"/v1/sessions/{call.id}"}
        return JSONResponse(opened(call, token), 201, headers)

    async def first_asked(request: Request, body: bytes, name: str) -> Response | None:
        """The answer of the gateway that was asked before; None where that is this one."""
        while (owner := await once.owner(name)) != once.worker and elsewhere is not None:
            theirs = await elsewhere.forward_to(request, body, owner)
            if theirs is not None or FORWARDED in request.headers:
                return theirs
            await once.forget(name, owner)  # it is gone, and its sessions are
        return None

    def opened(call: Call, token: str) -> dict[str, object]:
        about = call.live.describe()
        avatar = str(about["avatar"])
        return {
            "id": call.id,
            "token": token,
            "avatar": avatar,
            "models": about.get("models", []),
            "ice_servers": [for_browsers(server) for server in ice_servers],
            "limits": {
                "idle_s": config.limits.idle_s,
                "grace_s": config.limits.grace_s,
                "session_s": call.longest_s,
            },
            "profile": video_profile(config),
        }

    @app.get("/v1/sessions", **openapi.LIST_SESSIONS)
    async def list_sessions(request: Request) -> Response:
        guard.operator(request.headers)
        sessions: list[object] = [call.summary() for call in calls.all()]
        silent: list[WorkerId] = []
        if elsewhere is not None:
            told, silent = await elsewhere.gather(request)
            for answer in told:
                sessions += answer["sessions"]
        # a list that is not whole says so: who counts on it would count wrong
        return JSONResponse({"sessions": sessions, "silent_gateways": silent}, headers=NO_STORE)

    @app.get("/v1/sessions/{id}", **openapi.DESCRIBE_SESSION)
    async def describe_session(request: Request, id: str) -> Response:
        async def describe(call: Call) -> Response:
            return JSONResponse(call.describe(), headers=NO_STORE)

        return await owner.answers(request, id, describe)

    @app.delete("/v1/sessions/{id}", **openapi.END_SESSION)
    async def end_session(request: Request, id: str) -> Response:
        async def end(call: Call) -> Response:
            await calls.end(call)
            return Response(status_code=204)

        return await owner.answers(request, id, end)

    @app.post("/v1/sessions/{id}/call", **openapi.CONNECT)
    async def connect(request: Request, id: str) -> Response:
        async def answer(call: Call) -> Response:
            expect_type(request, "application/sdp")
            offer = await read_body(request, config.limits.sdp_bytes, config.limits)
            headers = {**NO_STORE, "location": f"/v1/sessions/{call.id}/call"}
            return Response(await calls.connect(call, offer), 201, headers, "application/sdp")

        return await owner.answers(request, id, answer)

    @app.delete("/v1/sessions/{id}/call", **openapi.HANG_UP)
    async def hang_up(request: Request, id: str) -> Response:
        async def part(call: Call) -> Response:
            if not call.hang_up():
                raise NotFound("nobody is connected to this session; POST an offer to connect")
            return Response(status_code=204)

        return await owner.answers(request, id, part)


def _refuse_other_sites(request: Request) -> None:
    """A page elsewhere may send a request without a body unasked, and would take a place."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise PermissionDenied(f"a page of {origin[:64]!r} may not open calls here")
