"""Asks the gateway that must answer: a session's, an operation's, or all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from grpc_status import rpc_status

from avatar.bus import Bus, WorkerInfo
from avatar.errors import AvatarError, Unavailable
from avatar.media import SessionId, WorkerId
from avatar.telemetry.logging import get_logger
from avatar.transport.status import error_of
from services.gateway.calls import Calls
from services.gateway.rpc.border import headers_of

log = get_logger(__name__)

FORWARDED: Final = "talkingmachines-forwarded"
"""Metadata that says that a gateway sent this: no request goes further than once."""
ASKED: Final = ("authorization",)
ANSWER_S: Final = 20.0
GATHER_S: Final = 3.0
"""Who looks at all of something does not wait for a gateway that hangs."""
MAX_ANSWER_BYTES: Final = 16 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Theirs:
    """Another gateway, and what to show it."""

    worker: WorkerId
    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]


class Owners:
    """Knows from the bus which gateway a session is at."""

    def __init__(self, bus: Bus, worker: WorkerId) -> None:
        self.worker = worker
        self._bus = bus
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def of_session(self, context: Any, calls: Calls, session: str) -> Theirs | None:
        """The gateway that owns a session; None where that is nobody else."""
        if is_forwarded(context) or calls.has(session) or not session:
            return None
        holder = await self._bus.holder(SessionId(session), "gateway")
        return None if holder is None else await self.of_worker(context, holder)

    async def of_worker(self, context: Any, worker: WorkerId) -> Theirs | None:
        """That gateway; None where it is gone, or is this one, or this was forwarded already."""
        if worker == self.worker or is_forwarded(context):
            return None
        for each in await self._bus.workers("gateway"):
            if each.worker == worker and each.grpc:
                return self._theirs(context, each)
        return None

    async def others(self, context: Any) -> list[Theirs]:
        """All other gateways; nobody is asked by one who was asked."""
        if is_forwarded(context):
            return []
        return [
            self._theirs(context, each)
            for each in await self._bus.workers("gateway")
            if each.grpc and each.worker != self.worker
        ]

    async def close(self) -> None:
        """Idempotent."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close(None)

    def _theirs(self, context: Any, worker: WorkerInfo) -> Theirs:
        headers = headers_of(context)
        metadata = tuple((name, headers[name]) for name in ASKED if name in headers)
        if worker.grpc not in self._channels:
            self._channels[worker.grpc] = grpc.aio.insecure_channel(
                worker.grpc,
                options=[
                    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
                    ("grpc.use_local_subchannel_pool", 1),  # one dead gateway delays no other
                    ("grpc.enable_http_proxy", 0),  # gateways reach each other inside
                    ("grpc.keepalive_time_ms", 10_000),
                    ("grpc.keepalive_timeout_ms", 5_000),
                ],
            )
        channel = self._channels[worker.grpc]
        return Theirs(worker.worker, channel, (*metadata, (FORWARDED, self.worker)))


def is_forwarded(context: Any) -> bool:
    return FORWARDED in headers_of(context)


async def asked(answer: Callable[[], Awaitable[T]]) -> T:
    """What another gateway answers; its error is raised as if it were ours.

    Raises:
        Unavailable: It does not answer.
    """
    try:
        return await answer()
    except grpc.aio.AioRpcError as error:
        raise _error(error) from error


async def gathered(
    theirs: list[Theirs], ask: Callable[[Theirs], Awaitable[T]]
) -> tuple[list[T], list[WorkerId]]:
    """What all of them answer, and who did not."""
    answers = await asyncio.gather(*map(ask, theirs), return_exceptions=True)
    told: list[T] = []
    silent: list[WorkerId] = []
    for each, answer in zip(theirs, answers, strict=True):
        if isinstance(answer, BaseException):
            log.warning("gateway_silent", worker=each.worker, error=repr(answer)[:500])
            silent.append(each.worker)
        else:
            told.append(answer)
    return told, silent


def _error(error: grpc.aio.AioRpcError) -> AvatarError:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has all that is asked
    known = error_of(status) if status is not None else None
    if known is not None:
        return known
    log.warning("forward_failed", code=error.code().name, error=str(error.details())[:500])
    return Unavailable(
        "the gateway of this session does not answer; try again, or open a new session"
    )
