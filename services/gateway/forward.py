"""Requests that other gateways must answer: about a session of one, or about all sessions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from avatar.bus import Bus, WorkerInfo
from avatar.errors import Unavailable
from avatar.media import SessionId, WorkerId
from avatar.telemetry.logging import get_logger
from services.gateway.http import read_body
from services.settings import Limits

log = get_logger(__name__)

FORWARDED: Final = "talkingmachines-forwarded"
"""A header that says that a gateway sent this: no request goes further than once."""
ASKED: Final = ("authorization", "content-type", "accept", "idempotency-key")
ANSWERED: Final = (
    "content-type", "location", "link", "retry-after", "www-authenticate", "cache-control",
)  # fmt: skip
ANSWER_S: Final = 20.0
GATHER_S: Final = 3.0
"""Who looks at all sessions does not wait for a gateway that hangs."""


class Forwarder:
    """Knows from the bus which gateway a session is at."""

    def __init__(self, bus: Bus, worker: WorkerId, limits: Limits) -> None:
        self._bus = bus
        self._worker = worker
        self._limits = limits
        self._http = httpx2.AsyncClient(timeout=ANSWER_S, trust_env=False)

    async def forward(self, request: Request, session: str) -> Response | None:
        """The answer of the gateway that owns `session`; None where that is nobody else.

        Raises:
            Unavailable: It does not answer.
        """
        if FORWARDED in request.headers:
            return None
        url = await self._owner(SessionId(session))
        if url is None:
            return None
        body = await read_body(request, self._limits.sdp_bytes, self._limits)
        headers = {name: request.headers[name] for name in ASKED if name in request.headers}
        try:
            answer = await self._http.request(
                request.method,
                url + request.url.path,
                content=body,
                headers={**headers, FORWARDED: self._worker},
            )
        except httpx2.HTTPError as error:
            log.warning("forward_failed", session=session, error=repr(error))
            raise Unavailable(
                "the gateway of this session does not answer; try again, or open a new session"
            ) from error
        kept = {name: answer.headers[name] for name in ANSWERED if name in answer.headers}
        return Response(answer.content, answer.status_code, kept)

    async def forward_to(self, request: Request, body: bytes, worker: WorkerId) -> Response | None:
        """What that gateway answers, piece by piece; None where it is gone, or is this one.

        Raises:
            Unavailable: It does not answer.
        """
        if worker == self._worker or FORWARDED in request.headers:
            return None
        url = await self._url(worker)
        if url is None:
            return None
        headers = {name: request.headers[name] for name in ASKED if name in request.headers}
        asking = self._http.build_request(
            request.method,
            url + request.url.path,
            content=body,
            headers={**headers, FORWARDED: self._worker},
            timeout=httpx2.Timeout(ANSWER_S, read=None),  # one who waits in line waits for long
        )
        try:
            answer = await self._http.send(asking, stream=True)
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

        kept = {name: answer.headers[name] for name in ANSWERED if name in answer.headers}
        return StreamingResponse(pieces(), answer.status_code, kept)

    async def gather(self, request: Request) -> tuple[list[Any], list[WorkerId]]:
        """What all other gateways answer to the same question, and who did not.

        Nobody is asked by one who was asked.
        """
        if FORWARDED in request.headers:
            return [], []
        headers = {name: request.headers[name] for name in ASKED if name in request.headers}
        headers[FORWARDED] = self._worker
        others = [
            worker
            for worker in await self._bus.workers("gateway")
            if worker.http and worker.worker != self._worker
        ]

        async def ask(worker: WorkerInfo) -> Any:
            answer = await self._http.get(
                worker.http + request.url.path, headers=headers, timeout=GATHER_S
            )
            return answer.raise_for_status().json()

        answers = await asyncio.gather(*map(ask, others), return_exceptions=True)
        told, silent = [], []
        for worker, answer in zip(others, answers, strict=True):
            if isinstance(answer, BaseException):
                log.warning("gateway_silent", worker=worker.worker, error=repr(answer))
                silent.append(worker.worker)
            else:
                told.append(answer)
        return told, silent

    async def close(self) -> None:
        """Idempotent."""
        await self._http.aclose()

    async def _owner(self, session: SessionId) -> str | None:
        holder = await self._bus.holder(session, "gateway")
        return None if holder is None or holder == self._worker else await self._url(holder)

    async def _url(self, worker: WorkerId) -> str | None:
        for each in await self._bus.workers("gateway"):
            if each.worker == worker:
                return each.http or None
        return None
