"""Asks the gateway that must answer: a session's, an operation's, or all of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from grpc_status import rpc_status

from avatar.bus import Bus, WorkerInfo
from avatar.errors import AvatarError, Unavailable
from avatar.media import WorkerId
from avatar.telemetry.logging import get_logger
from avatar.transport.status import error_of
from services.gateway.calls import Calls
from services.gateway.neighbours import FORWARDED, Neighbours, gathered
from services.gateway.rpc.border import headers_of

log = get_logger(__name__)

ASKED: Final = ("authorization",)
MAX_ANSWER_BYTES: Final = 16 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Theirs:
    """Another gateway, and what to show it."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]


class Owners:
    """Connects to them over gRPC."""

    def __init__(self, bus: Bus, worker: WorkerId) -> None:
        self._neighbours = Neighbours(bus, worker)
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def of_session(self, context: Any, calls: Calls, session: str) -> Theirs | None:
        """The gateway that owns a session; None where that is nobody else."""
        if is_forwarded(context) or calls.has(session) or not session:
            return None
        return self._theirs(context, await self._neighbours.owner_of(session))

    async def of_worker(self, context: Any, worker: WorkerId) -> Theirs | None:
        """That gateway; None where it is gone, or is this one, or this was forwarded already."""
        if is_forwarded(context):
            return None
        return self._theirs(context, await self._neighbours.find(worker))

    async def gather(
        self, context: Any, ask: Callable[[Theirs], Awaitable[T]]
    ) -> tuple[list[T], list[WorkerId]]:
        """What all other gateways answer, and who did not; nobody is asked by one who was asked."""
        if is_forwarded(context):
            return [], []
        others = [each for each in await self._neighbours.others() if each.grpc]
        return await gathered(others, lambda worker: ask(self._reach(context, worker)))

    async def close(self) -> None:
        """Idempotent."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close(None)

    def _theirs(self, context: Any, worker: WorkerInfo | None) -> Theirs | None:
        return self._reach(context, worker) if worker is not None and worker.grpc else None

    def _reach(self, context: Any, worker: WorkerInfo) -> Theirs:
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
        return Theirs(channel, (*metadata, (FORWARDED, self._neighbours.worker)))


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


def _error(error: grpc.aio.AioRpcError) -> AvatarError:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has all that is asked
    known = error_of(status) if status is not None else None
    if known is not None:
        return known
    log.warning("forward_failed", code=error.code().name, error=str(error.details())[:500])
    return Unavailable(
        "the gateway of this session does not answer; try again, or open a new session"
    )
