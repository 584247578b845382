"""One line for all gateways: exactly as many begin as there are slots, in the order they came."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from avatar.bus import LINE_TTL_S
from avatar.bus.memory import MemoryBus
from avatar.errors import Busy
from services.gateway.admission import (
    AT_ONCE,
    FIRST_GUESS_S,
    POLL_S,
    Admission,
    GatewayFull,
    Place,
)

pytestmark = pytest.mark.unit


class Time:
    """A clock that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleeping: list[tuple[float, asyncio.Event]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleeping.append((self.now + seconds, woken))
        await woken.wait()

    async def run(self, seconds: float) -> None:
        """Let time pass, half a poll at a time, with turns enough for everyone."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + POLL_S / 2)
            due = [woken for at, woken in self._sleeping if at <= self.now]
            self._sleeping = [each for each in self._sleeping if each[0] > self.now]
            for woken in due:
                woken.set()
            for _ in range(30):
                await asyncio.sleep(0)


class House:
    """Slots, and who has one, by name."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.inside: list[str] = []

    def take(self, name: str) -> str:
        if len(self.inside) >= self.slots:
            raise Busy("all slots of the house are taken")
        self.inside.append(name)
        return name


class Door:
    """One gateway's."""

    def __init__(self, house: House, admission: Admission) -> None:
        self.house, self.admission = house, admission
        self.told: dict[str, list[Place]] = {}
        self.slots = 99
        self.names: set[str] = set()

    async def enter(self, name: str, waits: bool = True) -> str:
        async def acquire() -> str:
            await asyncio.sleep(0)
            if sum(each in self.names for each in self.house.inside) >= self.slots:
                raise GatewayFull("all slots of this gateway are taken")
            self.names.add(name)
            return self.house.take(name)

        async def tell(place: Place) -> None:
            self.told.setdefault(name, []).append(place)

        return await self.admission.admit(acquire, tell if waits else None)


@asynccontextmanager
async def doors(
    slots: int = 1, longest: int = 100, patience_s: float = 1000, count: int = 1
) -> AsyncIterator[tuple[Time, MemoryBus, House, list[Door]]]:
    time, house = Time(), House(slots)
    bus = MemoryBus(time.clock)
    made = [
        Door(
            house,
            Admission(
                bus, longest=longest, patience_s=patience_s, clock=time.clock, sleep=time.sleep
            ),
        )
        for _ in range(count)
    ]
    yield time, bus, house, made


@asynccontextmanager
async def arriving(door: Door, *names: str) -> AsyncIterator[dict[str, asyncio.Task[str]]]:
    """All at once; those that are still there at the end go."""
    tasks = {name: asyncio.create_task(door.enter(name)) for name in names}
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def test_who_finds_a_free_slot_gets_it_without_a_word_of_waiting() -> None:
    async with doors() as (_, bus, _, [door]):
        assert await door.enter("a") == "a"
        assert door.told == {}
        assert await bus.line_length() == 0


async def test_who_does_not_wait_is_refused_with_a_place_and_a_time() -> None:
    async with doors() as (_, bus, _, [door]):
        await door.enter("a", waits=False)
        with pytest.raises(Busy, match="all slots of the house") as caught:
            await door.enter("b", waits=False)
        assert caught.value.position == 1
        assert caught.value.retry_after_s == FIRST_GUESS_S
        assert await bus.line_length() == 0


async def test_exactly_as_many_begin_as_there_are_slots() -> None:
    slots = 4
    async with doors(slots) as (time, _, house, [door]):
        names = [str(number) for number in range(slots + 50)]
        opens = [door.enter(name, waits=False) for name in names]
        results = await asyncio.gather(*opens, return_exceptions=True)
        assert len(house.inside) == slots
        refused = [result for result in results if isinstance(result, Busy)]
        assert len(refused) == 50
        assert all(each.position and each.retry_after_s > 0 for each in refused)


async def test_freed_slots_go_to_those_who_wait_in_their_order_at_any_gateway() -> None:
    async with doors(count=2) as (time, bus, house, [one, other]):
        await one.enter("first")
        async with arriving(one, "a") as at_one:
            await time.run(1)
            async with arriving(other, "b") as at_other:
                await time.run(1)
                async with arriving(one, "c") as later:
                    await time.run(1)
                    assert await bus.line_length() == 3
                    for task in (at_one["a"], at_other["b"], later["c"]):
                        assert not task.done()
                        house.inside.clear()
                        await time.run(1)
                        assert house.inside == [task.result()]
        assert await bus.line_length() == 0


async def test_who_waits_for_its_own_gateway_does_not_hold_up_the_others() -> None:
    async with doors(slots=2, count=2) as (time, _, house, [full, other]):
        await full.enter("first")
        full.slots = 1
        async with arriving(full, "a") as at_full:
            await time.run(1)
            assert not at_full["a"].done()
            async with arriving(other, "b") as at_other:
                await time.run(1)
                assert at_other["b"].result() == "b"
                house.inside.clear()
                full.slots = 2
                await time.run(1)
                assert at_full["a"].result() == "a"


async def test_who_finds_room_at_its_gateway_again_is_first_again() -> None:
    async with doors(slots=1, count=2) as (time, _, house, [full, other]):
        await other.enter("first")
        full.slots = 0
        async with arriving(full, "a") as at_full:
            await time.run(1)
            async with arriving(other, "b") as at_other:
                full.slots = 9
                await time.run(1)
                house.inside.clear()
                await time.run(1)
                assert at_full["a"].done()
                assert not at_other["b"].done()


async def test_who_does_not_wait_cannot_overtake_who_does() -> None:
    async with doors(count=2) as (time, _, house, [one, other]):
        await one.enter("first")
        async with arriving(one, "a"):
            await time.run(1)
            house.inside.clear()
            with pytest.raises(Busy, match="1 callers wait") as caught:
                await other.enter("pushy", waits=False)
            assert caught.value.position == 2
            await time.run(1)
            assert house.inside == ["a"]


async def test_places_are_told_as_the_line_moves_and_estimates_learn_its_speed() -> None:
    async with doors() as (time, _, house, [door]):
        await door.enter("first")
        async with arriving(door, "a", "b", "c"):
            await time.run(1)
            assert [door.told[name][0].position for name in "abc"] == [1, 2, 3]
            assert door.told["c"][0].estimate_s == 3 * FIRST_GUESS_S
            for _ in range(2):
                await time.run(99)
                house.inside.clear()
            await time.run(5)
            positions = [place.position for place in door.told["c"]]
            assert positions == sorted(positions, reverse=True)
            assert set(positions) == {3, 2, 1}
            last = door.told["c"][-1]
            assert (last.position, last.waiting) == (1, 1)
            assert FIRST_GUESS_S * 2 < last.estimate_s < 100


async def test_a_line_that_is_long_enough_takes_nobody_more() -> None:
    async with doors(longest=2) as (time, bus, _, [door]):
        await door.enter("first")
        async with arriving(door, "a", "b"):
            await time.run(1)
            with pytest.raises(Busy, match="2 callers wait") as caught:
                await door.enter("c")
            assert caught.value.position == 3
            assert "ask to wait" not in str(caught.value)  # it did
            assert await bus.line_length() == 2


async def test_nobody_waits_for_ever() -> None:
    async with doors(patience_s=10) as (time, bus, _, [door]):
        await door.enter("first")
        async with arriving(door, "a") as tasks:
            await time.run(11)
            with pytest.raises(Busy, match="within 10 s"):
                await tasks["a"]
        assert await bus.line_length() == 0


async def test_those_who_go_leave_no_gap() -> None:
    async with doors() as (time, bus, house, [door]):
        await door.enter("first")
        names = [str(number) for number in range(100)]
        async with arriving(door, *names):
            await time.run(0.4)
        async with arriving(door, "last") as tasks:
            await time.run(1)
            assert await bus.line_length() == 1
            house.inside.clear()
            await time.run(1)
            assert tasks["last"].done()


async def test_the_place_of_a_gateway_that_died_runs_out() -> None:
    async with doors() as (time, bus, house, [door]):
        await door.enter("first")
        await bus.stand_in_line("of a gateway that is no more", 100)
        async with arriving(door, "a") as tasks:
            house.inside.clear()
            await time.run(1)
            assert not tasks["a"].done()
            await time.run(LINE_TTL_S)
            assert tasks["a"].done()


async def test_an_error_of_another_kind_ends_the_wait() -> None:
    async with doors() as (_, bus, _, [door]):

        async def broken() -> str:
            raise ValueError("broken")

        async def tell(place: Place) -> None:
            pass

        with pytest.raises(ValueError, match="broken"):
            await door.admission.admit(broken, tell)
        assert await bus.line_length() == 0


async def test_of_a_crowd_few_take_their_leases_at_the_same_time_and_all_get_in() -> None:
    admission, inside, most = Admission(MemoryBus(), longest=1, patience_s=1), 0, 0

    async def acquire() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            for _ in range(5):
                await asyncio.sleep(0)
        finally:
            inside -= 1

    tasks = [asyncio.create_task(admission.admit(acquire)) for _ in range(5 * AT_ONCE)]
    await asyncio.sleep(0)
    for task in tasks[::2]:  # who goes away meanwhile leaves the door free
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not any(task.cancelled() for task in tasks[1::2])
    await asyncio.gather(*(admission.admit(acquire) for _ in range(2 * AT_ONCE)))
    assert most == AT_ONCE
