"""Who asks to wait: the place in line as server-sent events, then the session."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Final

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from avatar.errors import AvatarError, Busy, QuotaExceeded
from services.gateway.admission import Place
from services.gateway.call import Call
from services.gateway.line import Open, Opening
from services.gateway.outward import outward

EVENT_STREAM: Final = "text/event-stream"
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

Describe = Callable[[Call, str], Mapping[str, object]]


def wants_events(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "")


async def in_line(open_call: Open, describe: Describe) -> Response:
    """Open a call, and answer at once with what becomes of it: `avatar.queue` whenever the place
    in line changes and every 2 s, then `session.created`, or `error`.

    A caller who goes away meanwhile gives the place up, and the call with it.

    Raises:
        AvatarError: It failed before there was anything to wait for.
    """
    opening = Opening(open_call)
    try:
        place = await opening.next()
        if place is None:
            opening.call()  # an error is an answer of its own, with its status
    except BaseException:
        opening.abandon()
        raise
    return _Line(opening, place, describe)


class _Line(StreamingResponse):
    def __init__(self, opening: Opening, place: Place | None, describe: Describe) -> None:
        super().__init__(self._events(place), media_type=EVENT_STREAM, headers=HEADERS)
        self._opening = opening
        self._describe = describe
        self._is_delivered = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # here, because a body that was never begun has no `finally` of its own
            if not self._is_delivered:
                self._opening.abandon()

    async def _events(self, place: Place | None) -> AsyncIterator[str]:
        while place is not None:
            yield _event("avatar.queue", asdict(place))
            place = await self._opening.next()
        try:
            call, token = self._opening.call()
        except AvatarError as failed:
            error = outward(failed)
            about: dict[str, object] = {"code": error.reason.lower(), "message": str(error)}
            if isinstance(error, Busy):
                about |= {"retry_after_s": error.retry_after_s, "position": error.position}
            if isinstance(error, QuotaExceeded):
                about["quota"] = error.quota
            yield _event("error", {"error": about})
            return
        yield _event("session.created", {"session": self._describe(call, token)})
        self._is_delivered = True


def _event(type_: str, fields: Mapping[str, object]) -> str:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n"
