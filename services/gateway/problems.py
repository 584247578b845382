"""Refusals of HTTP as RFC 9457 has them, each with a reason of avatar/errors.py."""

import re
from collections.abc import Collection
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avatar.errors import (
    AvatarError,
    Busy,
    InvalidInput,
    NotFound,
    NotReady,
    PermissionDenied,
    QuotaExceeded,
    TooLarge,
    Unauthenticated,
    Unavailable,
    WrongMethod,
    WrongRange,
    WrongType,
)
from avatar.telemetry.logging import get_logger
from services.gateway.outward import outward

log = get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_S: Final = 2.0
MAX_DETAIL: Final = 200
OF_STATUS: Final[dict[int, type[AvatarError]]] = {
    kind.http_status: kind
    for kind in (
        InvalidInput, PermissionDenied, NotFound, WrongMethod, TooLarge, WrongType, WrongRange,
        Unavailable,
    )
}  # fmt: skip
"""What is meant by a part that knows nothing of our reasons."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")


def problem(
    status: int,
    reason: str,
    detail: str,
    waiting_for: list[str] | None = None,
    position: int | None = None,
    quota: str = "",
) -> Response:
    """An error as RFC 9457 has it, with the reason that gRPC callers get too."""
    body: dict[str, object] = {
        "type": f"urn:talkingmachines:{reason.lower().replace('_', '-')}",
        "title": reason.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "reason": reason,
    }
    if waiting_for is not None:
        body["waiting_for"] = waiting_for
    if position is not None:
        body["position"] = position
    if quota:
        body["quota"] = quota
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


def problem_of(error: AvatarError) -> Response:
    """All that the error knows."""
    error = outward(error)
    response = problem(
        error.http_status,
        error.reason,
        str(error),
        waiting_for=error.waiting_for if isinstance(error, NotReady) else None,
        position=error.position if isinstance(error, Busy) else None,
        quota=error.quota if isinstance(error, QuotaExceeded) else "",
    )
    if isinstance(error, Busy):
        response.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, Unauthenticated):
        response.headers["www-authenticate"] = "Bearer"
    return response


def answer_with_problems(app: FastAPI) -> None:
    """Whatever a handler raises, and whatever Starlette's own parts refuse."""
    app.add_exception_handler(AvatarError, _of_error)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_fault)
    app.add_middleware(PlainRefusals)


class OwnNames:
    """Refuses requests to any other name: one that leads a page elsewhere to this machine."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("host", "")
        found = _HOST.fullmatch(given.lower())
        if found is not None and found[1] in self._names:
            await self._app(scope, receive, send)
            return
        error = InvalidInput(
            f"the request is to {given[:64]!r}; a server for its own machine answers to "
            f"{', '.join(sorted(self._names))}: use one of these, or set BIND_HOST"
        )
        await problem_of(error)(scope, receive, send)


class RequestLimit:
    """No more requests at once than so many; one more is told so, and when to come back."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._num = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._num >= self._most:
            error = Busy(f"{self._most} requests at once, as many as this server takes", RETRY_S)
            await problem_of(error)(scope, receive, send)
            return
        self._num += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._num -= 1


class PlainRefusals:
    """Makes problems of what parts of Starlette, such as a file's, refuse in plain text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        said = bytearray()

        async def tell(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_plain_refusal(message):
                start = message
            elif start is None:
                await send(message)
            else:
                said.extend(message.get("body", b"")[: MAX_DETAIL - len(said)])
                if not message.get("more_body", False):
                    await _retold(start, bytes(said))(scope, receive, send)

        await self._app(scope, receive, tell)


def _is_plain_refusal(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= 400 and kind.startswith("text/plain")


def _retold(start: Message, said: bytes) -> Response:
    response = problem_of(_error_of(start["status"], said.decode(errors="replace")))
    for name, value in Headers(raw=start["headers"]).items():
        if name not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _error_of(status: int, detail: str) -> AvatarError:
    usual = InvalidInput if status < 500 else AvatarError
    return OF_STATUS.get(status, usual)(detail)


async def _of_error(request: Request, error: Any) -> Response:
    return problem_of(error)


async def _of_http(request: Request, error: Any) -> Response:
    """Starlette's: no such path, no such method of it."""
    response = problem_of(_error_of(error.status_code, str(error.detail)))
    response.headers.update(error.headers or {})
    return response


async def _of_fault(request: Request, error: Exception) -> Response:
    """The border: callers get a reason, the log the traceback."""
    log.exception("request_failed")  # noqa: LOG004  Starlette calls this from its handler
    return problem_of(AvatarError("the server failed on this request; its log says why"))
