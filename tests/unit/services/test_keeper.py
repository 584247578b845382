"""The leases of all sessions of a gateway: kept together, lost each for itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from avatar.bus import LEASE_TTL_S, Lease, WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.errors import SessionLost, Unavailable
from avatar.media import SessionId, StageName, WorkerId
from services.gateway.keeper import BUS_GRACE_S, Keeper
from tests.fakes.calls import ManualClock

pytestmark = pytest.mark.unit

STAGES_HELD: tuple[StageName, ...] = ("gateway", "score_worker")


class CountedBus(MemoryBus):
    """Notes each round of renewals; does not answer while it is `away`."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.rounds: list[int] = []
        self.is_away = False
        self._news = asyncio.Event()

    async def renew_all(self, leases: Sequence[Lease], /, ttl_s: float = LEASE_TTL_S) -> list[bool]:
        self.rounds.append(len(leases))
        self._news.set()
        if self.is_away:
            raise Unavailable("away")
        return await super().renew_all(leases, ttl_s)

    async def rounds_more(self, count: int) -> None:
        """Until that many more have begun."""
        wanted = len(self.rounds) + count
        while len(self.rounds) < wanted:
            self._news.clear()
            await self._news.wait()


@dataclass
class Desk:
    bus: CountedBus
    keeper: Keeper
    clock: ManualClock

    async def leases(self, name: str) -> list[Lease]:
        taken = []
        for stage in STAGES_HELD:
            info = WorkerInfo(WorkerId(f"{stage}-1"), stage, "memory://0", 9)
            lease = await self.bus.acquire(SessionId(name), info)
            assert lease is not None
            taken.append(lease)
        return taken


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    clock = ManualClock()
    bus = CountedBus(clock)
    keeper = Keeper(bus, interval_s=0.001, clock=clock)
    keeper.start()
    async with asyncio.timeout(10):
        yield Desk(bus, keeper, clock)
    await keeper.stop()


async def test_all_sessions_are_renewed_in_one_round() -> None:
    async with desk() as d:
        keeping = [
            asyncio.create_task(d.keeper.keep(await d.leases(f"s{number}"))) for number in range(3)
        ]
        await d.bus.rounds_more(2)
        assert d.bus.rounds[-1] == 3 * len(STAGES_HELD)
        for _ in range(3):
            d.clock.now += 0.9 * LEASE_TTL_S  # each alone would be survived without renewal
            await d.bus.rounds_more(2)
        assert await d.bus.loads(WorkerId("gateway-1")) == [3]
        keeping[0].cancel()
        await asyncio.wait(keeping[:1])
        await d.bus.rounds_more(2)
        assert d.bus.rounds[-1] == 2 * len(STAGES_HELD)
        for each in keeping:
            each.cancel()


async def test_who_loses_a_lease_ends_and_the_others_go_on() -> None:
    async with desk() as d:
        leases = await d.leases("s0")
        losing = asyncio.create_task(d.keeper.keep(leases))
        going_on = asyncio.create_task(d.keeper.keep(await d.leases("s1")))
        await d.bus.release(leases[1])
        with pytest.raises(SessionLost, match=r"lease of score_worker was lost"):
            await losing
        await d.bus.rounds_more(2)
        assert not going_on.done()
        assert await d.bus.loads(WorkerId("score_worker-1")) == [1]
        going_on.cancel()


async def test_a_bus_may_be_away_for_a_while_and_no_longer() -> None:
    async with desk() as d:
        keeping = asyncio.create_task(d.keeper.keep(await d.leases("s0")))
        await d.bus.rounds_more(2)
        d.bus.is_away = True
        d.clock.now += BUS_GRACE_S
        await d.bus.rounds_more(2)
        assert not keeping.done()
        d.clock.now += 0.1
        with pytest.raises(SessionLost, match="away for over"):
            await keeping


async def test_one_that_came_while_the_bus_was_away_has_all_its_grace() -> None:
    async with desk() as d:
        d.bus.is_away = True
        await d.bus.rounds_more(2)
        d.clock.now += 2 * BUS_GRACE_S
        keeping = asyncio.create_task(d.keeper.keep(await d.leases("s0")))
        await d.bus.rounds_more(3)
        assert not keeping.done()
        keeping.cancel()


async def test_a_keeper_that_has_stopped_is_not_healthy() -> None:
    keeper = Keeper(MemoryBus())
    with pytest.raises(RuntimeError, match="not renewed"):
        keeper.check()
    keeper.start()
    keeper.check()
    await keeper.stop()
    await keeper.stop()
    with pytest.raises(RuntimeError, match="not renewed"):
        keeper.check()
