"""HTTP of avatars that are made here: begun, watched, stopped, removed; for operators."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Base64Bytes, BaseModel, ConfigDict, ValidationError

from avatar.cast.avatars import is_shipped
from avatar.errors import InvalidInput
from avatar.media import WorkerId
from avatar.telemetry.logging import get_logger
from services.gateway import openapi
from services.gateway.guard import Guard
from services.gateway.http import describe_avatar, expect_type, first_error, read_body
from services.gateway.http_owner import NO_STORE, Elsewhere
from services.gateway.keyring import Caller
from services.gateway.recipes import Consent, Described, Portrayed, Source
from services.gateway.talker import find_avatar
from services.gateway.workshop import Workshop, worker_of
from services.settings import AppConfig

log = get_logger(__name__)

MAX_BODY_BYTES = (4 << 20) + (64 << 10)
"""A portrait of 3 MiB in base64, and what is said of it."""


class ConsentBody(BaseModel):
    """That who is shown agrees to it."""

    model_config = ConfigDict(extra="forbid")

    given: bool = False
    given_by: str = ""
    statement: str = ""


class PortraitBody(BaseModel):
    """What POST /v1/avatars takes as JSON."""

    model_config = ConfigDict(extra="forbid")

    image: Base64Bytes
    avatar: str
    display_name: str
    description: str
    persona: str
    consent: ConsentBody = ConsentBody()


def add_avatar_routes(
    app: FastAPI,
    workshop: Workshop,
    config: AppConfig,
    guard: Guard,
    elsewhere: Elsewhere | None = None,
) -> None:
    """Serve what makes avatars, also for those that other gateways make."""

    @app.get("/v1/avatars/{name}", **openapi.AVATAR_OF)
    async def avatar(name: str) -> dict[str, object]:
        character = find_avatar(name, config.avatars_dir)
        return {**describe_avatar(character, config), "is_shipped": is_shipped(character.id)}

    @app.post("/v1/avatars", **openapi.CREATE_AVATAR)
    async def create(request: Request) -> Response:
        operator = guard.operator(request.headers)
        expect_type(request, "application/toml", "application/json")
        body = await read_body(request, MAX_BODY_BYTES, config.limits)
        is_json = request.headers.get("content-type", "").startswith("application/json")
        operation = await workshop.create(_portrayed(body) if is_json else _described(body))
        log.info("avatar_asked", avatar=operation.avatar, key=operator.key)
        headers = {**NO_STORE, "location": f"/v1/operations/{operation.id}"}
        return JSONResponse(operation.describe(), 202, headers)

    @app.delete("/v1/avatars/{name}", **openapi.DELETE_AVATAR)
    async def delete(request: Request, name: str) -> Response:
        operator = guard.operator(request.headers)
        await workshop.delete(name)
        log.info("avatar_removal_asked", avatar=name, key=operator.key)
        return Response(status_code=204)

    @app.get("/v1/operations", **openapi.LIST_OPERATIONS)
    async def operations(request: Request) -> Response:
        guard.operator(request.headers)
        found: list[object] = [each.describe() for each in workshop.all()]
        silent: list[WorkerId] = []
        if elsewhere is not None:
            told, silent = await elsewhere.gather(request)
            for answer in told:
                found += answer["operations"]
        return JSONResponse({"operations": found, "silent_gateways": silent}, headers=NO_STORE)

    @app.get("/v1/operations/{id}", **openapi.OPERATION_OF)
    async def operation(request: Request, id: str) -> Response:
        async def ours(operator: Caller) -> Response:
            return JSONResponse(workshop.get(id).describe(), headers=NO_STORE)

        return await at_maker(request, id, ours)

    @app.delete("/v1/operations/{id}", **openapi.CANCEL_OPERATION)
    async def cancel(request: Request, id: str) -> Response:
        async def ours(operator: Caller) -> Response:
            operation = await workshop.cancel(id)
            log.info("avatar_stop_asked", avatar=operation.avatar, key=operator.key)
            return JSONResponse(operation.describe(), headers=NO_STORE)

        return await at_maker(request, id, ours)

    async def at_maker(
        request: Request, id: str, ours: Callable[[Caller], Awaitable[Response]]
    ) -> Response:
        operator = guard.operator(request.headers)
        theirs = None
        if elsewhere is not None:
            theirs = await elsewhere.forward_to(request, b"", worker_of(id))
        return theirs if theirs is not None else await ours(operator)


def _described(body: bytes) -> Source:
    try:
        return Described(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidInput("the description is no UTF-8 text") from error


def _portrayed(body: bytes) -> Source:
    try:
        given = PortraitBody.model_validate_json(body)
    except ValidationError as error:
        raise InvalidInput(f"send JSON with a portrait: {first_error(error)}") from error
    consent = given.consent
    return Portrayed(
        given.image,
        given.avatar,
        given.display_name,
        given.description,
        given.persona,
        Consent(consent.given, consent.given_by, consent.statement),
    )
