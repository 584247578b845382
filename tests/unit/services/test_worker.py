"""What a worker says of itself: it lives, it drains, it is full."""

import asyncio

import pytest

from avatar.bus import WORKER_TTL_S, WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.media import SessionId, WorkerId
from services.worker import LISTED_S, Heartbeat, ask_to_drain, load_of, until_free
from tests.fakes.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit

WORKER = WorkerId("score_worker-1")
INFO = WorkerInfo(WORKER, "score_worker", "memory://0", 3)


class CrowdedBus(MemoryBus):
    """Counts heartbeats; answers nothing about quotas while many ask it."""

    def __init__(self) -> None:
        super().__init__()
        self.beats = 0
        self.has_room = asyncio.Event()

    async def advertise(self, info: WorkerInfo, /, ttl_s: float = WORKER_TTL_S) -> None:
        self.beats += 1
        await super().advertise(info, ttl_s)

    async def spend(self, quota: str, holder: str, amount: float, /, ttl_s: float) -> float:
        await self.has_room.wait()
        return await super().spend(quota, holder, amount, ttl_s)


async def until_beats(bus: CrowdedBus, count: int) -> None:
    async with asyncio.timeout(10):
        while bus.beats < count:  # noqa: ASYNC110  # real time, of which little passes
            await asyncio.sleep(0.001)


async def test_a_heart_beats_on_while_nobody_says_whether_to_drain() -> None:
    bus = CrowdedBus()
    heartbeat = Heartbeat(bus, INFO, interval_s=0.001)
    await heartbeat.start()
    await until_beats(bus, 5)
    heartbeat.check()
    bus.has_room.set()
    await ask_to_drain(bus, WORKER)
    async with asyncio.timeout(10):
        while not (await bus.workers("score_worker"))[0].draining:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await until_beats(bus, bus.beats + 3)
    assert [each.draining for each in await bus.workers("score_worker")] == [True]
    await heartbeat.stop()
    assert await bus.workers("score_worker") == []


async def test_a_worker_that_drains_has_no_free_slot_for_the_autoscaler() -> None:
    bus = MemoryBus()
    assert await bus.acquire(SessionId("s"), INFO) is not None
    assert (await load_of(bus, WORKER, 3))["leased"] == 1
    assert (await load_of(bus, WORKER, 3, is_draining=True))["leased"] == 3


def test_who_drains_waits_for_those_whom_an_old_list_still_sends() -> None:
    async def main() -> tuple[bool, bool]:
        bus = MemoryBus()
        going = asyncio.create_task(until_free(bus, WORKER, limit_s=60))
        await asyncio.sleep(LISTED_S)
        late = await bus.acquire(SessionId("s"), INFO)
        await asyncio.sleep(5)  # less than the lease runs
        left_early = going.done()
        assert late is not None
        await bus.release(late)
        await asyncio.sleep(1)
        return left_early, going.done()

    assert in_virtual_time(main()) == (False, True)
