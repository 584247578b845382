"""Requests that other gateways must answer: about a session of one, or about all sessions."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from avatar.bus import Bus, WorkerInfo
from avatar.errors import Unavailable
from avatar.media import WorkerId
from avatar.telemetry.logging import get_logger
from services.gateway.http import read_body
from services.gateway.neighbours import ANSWER_S, FORWARDED, GATHER_S, Neighbours, gathered
from services.settings import Limits

log = get_logger(__name__)

ASKED: Final = ("authorization", "content-type", "accept", "idempotency-key")
ANSWERED: Final = (
    "content-type", "location", "link", "retry-after", "www-authenticate", "cache-control",
)  # fmt: skip


class Forwarder:
    """Sends on over HTTP."""

    def __init__(self, bus: Bus, worker: WorkerId, limits: Limits) -> None:
        self._neighbours = Neighbours(bus, worker)
        self._limits = limits
        self._http = httpx2.AsyncClient(timeout=ANSWER_S, trust_env=False)

    async def forward(self, request: Request, session: str) -> Response | None:
        """The answer of the gateway that owns `session`; None where that is nobody else.

        Raises:
            Unavailable: It does not answer.
        """
        if FORWARDED in request.headers:
            return None
        owner = await self._neighbours.owner_of(session)
        if owner is None or not owner.http:
            return None
        body = await read_body(request, self._limits.sdp_bytes, self._limits)
        asking = self._request(request, owner, body, httpx2.Timeout(ANSWER_S))
        try:
            answer = await self._http.send(asking)
        except httpx2.HTTPError as error:
            log.warning("forward_failed", session=session, error=repr(error))
            raise Unavailable(
                "the gateway of this session does not answer; try again, or open a new session"
            ) from error
        return Response(answer.content, answer.status_code, _kept(answer))

    async def forward_to(self, request: Request, body: bytes, worker: WorkerId) -> Response | None:
        """What that gateway answers, piece by piece; None where it is gone, or is this one.

        Raises:
            Unavailable: It does not answer.
        """
        if FORWARDED in request.headers:
            return None
        theirs = await self._neighbours.find(worker)
        if theirs is None or not theirs.http:
            return None
        patience = httpx2.Timeout(ANSWER_S, read=None)  # one who waits in line waits for long
        try:
            answer = await self._http.send(
                self._request(request, theirs, body, patience), stream=True
            )
        except httpx2.HTTPError as error:
            log.warning("forward_failed", worker=worker, error=repr(error))
            raise Unavailable(
                "the gateway that opens this session does not answer; try again"
            ) from error

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in answer.aiter_raw():
                    yield piece
            finally:
                await answer.aclose()

        return StreamingResponse(pieces(), answer.status_code, _kept(answer))

    async def gather(self, request: Request) -> tuple[list[Any], list[WorkerId]]:
        """What all other gateways answer to the same question, and who did not.

        Nobody is asked by one who was asked.
        """
        if FORWARDED in request.headers:
            return [], []

        async def ask(worker: WorkerInfo) -> Any:
            asking = self._request(request, worker, b"", httpx2.Timeout(GATHER_S))
            return (await self._http.send(asking)).raise_for_status().json()

        others = [each for each in await self._neighbours.others() if each.http]
        return await gathered(others, ask)

    async def close(self) -> None:
        """Idempotent."""
        await self._http.aclose()

    def _request(
        self, request: Request, to: WorkerInfo, body: bytes, patience: httpx2.Timeout
    ) -> httpx2.Request:
        headers = {name: request.headers[name] for name in ASKED if name in request.headers}
        return self._http.build_request(
            request.method,
            to.http + request.url.path,
            content=body,
            headers={**headers, FORWARDED: self._neighbours.worker},
            timeout=patience,
        )


def _kept(answer: httpx2.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in ANSWERED if name in answer.headers}
