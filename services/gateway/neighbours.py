"""The other gateways: whose a request is, and what all of them say."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from avatar.bus import Bus, WorkerInfo
from avatar.media import SessionId, WorkerId
from avatar.telemetry.logging import get_logger

log = get_logger(__name__)

FORWARDED: Final = "talkingmachines-forwarded"
"""A header that says that a gateway sent this: no request goes further than once."""
ANSWER_S: Final = 20.0
GATHER_S: Final = 3.0
"""Who looks at all of something does not wait for a gateway that hangs."""

T = TypeVar("T")


class Neighbours:
    """Knows them from the bus."""

    def __init__(self, bus: Bus, worker: WorkerId) -> None:
        self.worker = worker
        self._bus = bus

    async def owner_of(self, session: str) -> WorkerInfo | None:
        """Who has the session; None where that is nobody else."""
        holder = await self._bus.holder(SessionId(session), "gateway")
        return None if holder is None else await self.find(holder)

    async def find(self, worker: WorkerId) -> WorkerInfo | None:
        """That gateway; None where it is gone, or is this one."""
        for each in await self.others():
            if each.worker == worker:
                return each
        return None

    async def others(self) -> list[WorkerInfo]:
        """All of them."""
        everyone = await self._bus.workers("gateway")
        return [each for each in everyone if each.worker != self.worker]


async def gathered(
    workers: Sequence[WorkerInfo], ask: Callable[[WorkerInfo], Awaitable[T]]
) -> tuple[list[T], list[WorkerId]]:
    """What all of them answer, and who did not: a list that is not whole says so."""
    answers = await asyncio.gather(*map(ask, workers), return_exceptions=True)
    told: list[T] = []
    silent: list[WorkerId] = []
    for each, answer in zip(workers, answers, strict=True):
        if isinstance(answer, BaseException):
            log.warning("gateway_silent", worker=each.worker, error=repr(answer)[:500])
            silent.append(each.worker)
        else:
            told.append(answer)
    return told, silent
