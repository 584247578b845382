"""A bus with faults, for tests: whatever a network may do to calls that are otherwise right."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Literal, TypeVar

from avatar.bus import (
    LEASE_TTL_S,
    LEDGER_LENGTH,
    LINE_TTL_S,
    WORKER_TTL_S,
    Bus,
    CommitResult,
    Control,
    Lease,
    LedgerEntry,
    WorkerInfo,
)
from avatar.errors import Unavailable
from avatar.media import SessionId, StageName, WorkerId

Fault = Literal["delay", "reorder", "duplicate", "drop_request", "drop_answer", "disconnect"]
"""What happens to one call, or to one control entry on its way to a reader:

delay: it waits; reorder: it waits until another call has overtaken it, or as long as a delay;
duplicate: it takes effect twice, the caller gets the second answer, a reader both;
drop_request, drop_answer: Unavailable, without and with effect;
disconnect: Unavailable now, for the next `OUTAGE_CALLS` calls, and for readers at their next entry.
"""
OUTAGE_CALLS = 3

T = TypeVar("T")


class FaultyBus:
    """`bus` with `faults`, one drawn for each call and control entry; None, or no more: no fault.

    `sleep` is what delays with; give a clock of your own to make them free.
    """

    def __init__(
        self,
        bus: Bus,
        faults: Iterator[Fault | None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        delay_s: float = 0.01,
    ) -> None:
        self._bus = bus
        self._faults = faults
        self._sleep = sleep
        self._delay_s = delay_s
        self._outage_calls = 0
        self._num_outages = 0
        self._passed = asyncio.Event()

    async def advertise(self, info: WorkerInfo, /, ttl_s: float = WORKER_TTL_S) -> None:
        await self._call(lambda: self._bus.advertise(info, ttl_s))

    async def withdraw(self, worker: WorkerId, /) -> None:
        await self._call(lambda: self._bus.withdraw(worker))

    async def workers(self, stage: StageName, /) -> list[WorkerInfo]:
        return await self._call(lambda: self._bus.workers(stage))

    async def loads(self, *workers: WorkerId) -> list[int]:
        return await self._call(lambda: self._bus.loads(*workers))

    async def holder(self, session: SessionId, stage: StageName, /) -> WorkerId | None:
        return await self._call(lambda: self._bus.holder(session, stage))

    async def acquire(
        self, session: SessionId, worker: WorkerInfo, /, ttl_s: float = LEASE_TTL_S
    ) -> Lease | None:
        return await self._call(lambda: self._bus.acquire(session, worker, ttl_s))

    async def renew(self, lease: Lease, /, ttl_s: float = LEASE_TTL_S) -> bool:
        return await self._call(lambda: self._bus.renew(lease, ttl_s))

    async def renew_all(self, leases: Sequence[Lease], /, ttl_s: float = LEASE_TTL_S) -> list[bool]:
        return await self._call(lambda: self._bus.renew_all(leases, ttl_s))

    async def release(self, lease: Lease, /) -> None:
        await self._call(lambda: self._bus.release(lease))

    async def stand_in_line(
        self, ticket: str, longest: int, /, ttl_s: float = LINE_TTL_S, *, steps_aside: bool = False
    ) -> int | None:
        return await self._call(
            lambda: self._bus.stand_in_line(ticket, longest, ttl_s, steps_aside=steps_aside)
        )

    async def leave_line(self, ticket: str, /) -> None:
        await self._call(lambda: self._bus.leave_line(ticket))

    async def line_length(self) -> int:
        return await self._call(lambda: self._bus.line_length())

    async def take_share(
        self, quota: str, holder: str, most: int, /, ttl_s: float = LEASE_TTL_S
    ) -> bool:
        return await self._call(lambda: self._bus.take_share(quota, holder, most, ttl_s))

    async def give_share(self, quota: str, holder: str, /) -> None:
        await self._call(lambda: self._bus.give_share(quota, holder))

    async def spend(self, quota: str, holder: str, amount: float, /, ttl_s: float) -> float:
        return await self._call(lambda: self._bus.spend(quota, holder, amount, ttl_s))

    async def claim(self, name: str, value: str, /, ttl_s: float) -> str:
        return await self._call(lambda: self._bus.claim(name, value, ttl_s))

    async def disclaim(self, name: str, value: str, /) -> None:
        await self._call(lambda: self._bus.disclaim(name, value))

    async def commit(self, lease: Lease, seq: int, payload: bytes, /) -> CommitResult:
        return await self._call(lambda: self._bus.commit(lease, seq, payload))

    async def replay(
        self, session: SessionId, stage: StageName, /, last: int = LEDGER_LENGTH
    ) -> list[LedgerEntry]:
        return await self._call(lambda: self._bus.replay(session, stage, last))

    async def post(self, session: SessionId, control: Control, /) -> None:
        await self._call(lambda: self._bus.post(session, control))

    async def raise_epoch(self, session: SessionId, /) -> int:
        return await self._call(lambda: self._bus.raise_epoch(session))

    async def forget(self, session: SessionId, /) -> None:
        await self._call(lambda: self._bus.forget(session))

    async def control(self, session: SessionId, /) -> AsyncIterator[Control]:
        num_outages = self._num_outages
        async for control in self._bus.control(session):
            fault = next(self._faults, None)
            if fault == "disconnect":
                self._disconnect()
            if fault in ("drop_request", "drop_answer") or num_outages != self._num_outages:
                raise Unavailable("fault: the reader lost its connection")
            if fault in ("delay", "reorder"):  # a stream keeps its order: to reorder is to delay
                await self._sleep(self._delay_s)
            yield control
            if fault == "duplicate":
                yield control

    async def close(self) -> None:
        await self._bus.close()

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        fault = next(self._faults, None)
        if self._outage_calls:
            self._outage_calls -= 1
            raise Unavailable("fault: still disconnected")
        if fault == "disconnect":
            self._disconnect()
            raise Unavailable("fault: disconnected")
        if fault == "drop_request":
            raise Unavailable("fault: the request was lost")
        if fault == "delay":
            await self._sleep(self._delay_s)
        if fault == "reorder":
            await self._be_overtaken()
        if fault == "duplicate":
            await call()
        answer = await call()
        self._passed.set()
        self._passed = asyncio.Event()
        if fault == "drop_answer":
            raise Unavailable("fault: the answer was lost")
        return answer

    def _disconnect(self) -> None:
        self._outage_calls = OUTAGE_CALLS
        self._num_outages += 1

    async def _be_overtaken(self) -> None:
        ways = {
            asyncio.ensure_future(self._passed.wait()),
            asyncio.ensure_future(self._sleep(self._delay_s)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
