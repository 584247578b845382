"""HTTP of those who watch: WHEP (draft-ietf-wish-whep), and the tokens that let them."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.gateway import openapi
from services.gateway.call import Call
from services.gateway.calls import Calls
from services.gateway.http import expect_type, read_body
from services.gateway.http_owner import NO_STORE, Owner, for_browsers
from services.gateway.tokens import watch_path, whep_path
from services.settings import AppConfig, IceServer


def add_viewer_routes(
    app: FastAPI,
    calls: Calls,
    config: AppConfig,
    owner: Owner,
    ice_servers: tuple[IceServer, ...],
) -> None:
    """Serve what lies below /v1/sessions/{id} for viewers."""
    links = ", ".join(map(link_of, ice_servers))

    @app.post("/v1/sessions/{id}/viewer-tokens", **openapi.MAKE_VIEWER_TOKEN)
    async def make_viewer_token(request: Request, id: str) -> Response:
        """Make a token that lets its bearer watch this session, and nothing else.

        Asks for the session's own token. Several viewers may share one; all of them end with the
        session. `watch` is the path of a page that shows it.
        """

        async def make(call: Call) -> Response:
            token = call.audience.tokens.make()
            body = {"token": token, "watch": watch_path(call.id, token)}
            return JSONResponse(body, 201, NO_STORE)

        return await owner.answers(request, id, make)

    @app.delete("/v1/sessions/{id}/viewer-tokens", **openapi.TAKE_VIEWER_TOKENS_BACK)
    async def take_viewer_tokens_back(request: Request, id: str) -> Response:
        """Take all viewer tokens of this session back, and show all viewers out.

        Asks for the session's own token.
        """

        async def forget(call: Call) -> Response:
            call.audience.tokens.forget()
            call.audience.dismiss()
            return Response(status_code=204)

        return await owner.answers(request, id, forget)

    @app.get("/v1/sessions/{id}/viewers", **openapi.DESCRIBE_AUDIENCE)
    async def describe_audience(request: Request, id: str) -> Response:
        """Whom one watches, how many do, whether its caller is there, and the ICE servers.

        Asks for a viewer token, or the session's own.
        """

        async def describe(call: Call) -> Response:
            body = {
                "avatar": call.live.describe()["avatar"],
                "caller_is_connected": call.is_connected,
                "viewers": call.audience.describe(),
                "ice_servers": [for_browsers(server) for server in ice_servers],
            }
            return JSONResponse(body, headers=NO_STORE)

        return await owner.answers_viewer(request, id, describe)

    @app.post("/v1/sessions/{id}/viewers", **openapi.WATCH)
    async def watch(request: Request, id: str) -> Response:
        """Watch: a WHEP endpoint. Send an SDP offer of audio and video, get the answer.

        Asks for a viewer token, or the session's own. All candidates are in the answer: there is
        nothing to PATCH. `Location` is the viewer; DELETE it to stop watching.
        """

        async def answer(call: Call) -> Response:
            expect_type(request, "application/sdp")
            offer = await read_body(request, config.limits.sdp_bytes, config.limits)
            viewer, sdp = await calls.watch(call, offer)
            headers = {**NO_STORE, "location": f"{whep_path(call.id)}/{viewer}"}
            if links:
                headers["link"] = links
            return Response(sdp, 201, headers, "application/sdp")

        return await owner.answers_viewer(request, id, answer)

    @app.delete("/v1/sessions/{id}/viewers/{viewer}", **openapi.STOP_WATCHING)
    async def stop_watching(request: Request, id: str, viewer: str) -> Response:
        """Stop watching. Asks for a viewer token, or the session's own."""

        async def stop(call: Call) -> Response:
            call.audience.dismiss_one(viewer)
            return Response(status_code=204)

        return await owner.answers_viewer(request, id, stop)


def link_of(server: IceServer) -> str:
    """As RFC 9725 section 4.6 has it."""
    about = '; rel="ice-server"'
    if server.username is not None:
        about += f"; username={_quoted(server.username)}"
    if server.credential is not None:
        about += f"; credential={_quoted(server.credential.get_secret_value())}"
        about += '; credential-type="password"'
    return ", ".join(f"<{url}>{about}" for url in server.urls)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
