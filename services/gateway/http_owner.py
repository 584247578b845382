"""HTTP of one session: answered where the session is."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import Response

from avatar.media import WorkerId
from services.gateway.call import Call
from services.gateway.calls import Calls
from services.gateway.keyring import bearer
from services.settings import IceServer

NO_STORE = {"cache-control": "no-store"}
Answer = Callable[[Call], Awaitable[Response]]


class Elsewhere(Protocol):
    """Asks the gateway that owns a session, or all of them; a `Forwarder` is one."""

    async def forward(self, request: Request, session: str, /) -> Response | None: ...

    async def forward_to(
        self, request: Request, body: bytes, worker: WorkerId, /
    ) -> Response | None: ...

    async def gather(self, request: Request, /) -> tuple[list[Any], list[WorkerId]]: ...


class Owner:
    """Finds who answers about a session, this gateway or another one, and asks for its token."""

    def __init__(self, calls: Calls, elsewhere: Elsewhere | None) -> None:
        self._calls = calls
        self._elsewhere = elsewhere

    async def answers(self, request: Request, id: str, answer: Answer) -> Response:
        """To who has the session's token."""
        theirs = await self._forwarded(request, id)
        if theirs is not None:
            return theirs
        return await answer(self._calls.find(id, bearer(request.headers)))

    async def answers_viewer(self, request: Request, id: str, answer: Answer) -> Response:
        """To who may watch."""
        theirs = await self._forwarded(request, id)
        if theirs is not None:
            return theirs
        return await answer(self._calls.find_watched(id, bearer(request.headers)))

    async def _forwarded(self, request: Request, id: str) -> Response | None:
        if self._elsewhere is None or self._calls.has(id):
            return None
        return await self._elsewhere.forward(request, id)


def for_browsers(server: IceServer) -> dict[str, Any]:
    """As RTCConfiguration.iceServers has it."""
    entry: dict[str, Any] = {"urls": list(server.urls)}
    if server.username is not None:
        entry["username"] = server.username
    if server.credential is not None:
        entry["credential"] = server.credential.get_secret_value()
    return entry
