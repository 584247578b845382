"""The compute thread of a stage: whose call is next, what becomes of errors and of an end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.compute import Batch, ComputeThread
from services.precedence import Due

pytestmark = pytest.mark.unit


@dataclass
class Held:
    """A compute thread that is busy with its first call until `gate` opens."""

    thread: ComputeThread
    gate: threading.Event
    done: list[str] = field(default_factory=list)

    def run(self, name: str, deadline: float) -> "asyncio.Future[None]":
        return self.thread.run(Due(deadline), self.done.append, name)


@asynccontextmanager
async def held() -> AsyncIterator[Held]:
    thread, gate, reached = ComputeThread("test"), threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert gate.wait(30)

    first = thread.run(Due(0.0), hold)
    try:
        assert await asyncio.to_thread(reached.wait, 30)
        yield Held(thread, gate)
        await asyncio.wait_for(first, 30)
    finally:
        gate.set()
        await asyncio.to_thread(thread.close)


@dataclass
class Together:
    """A batch that notes what it was called with; "bad" cannot be made."""

    most: int
    calls: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batch: Batch[str, str] = Batch(self._make, self.most)

    def _make(self, items: list[str]) -> list[str]:
        self.calls.append(list(items))
        if "bad" in items:
            raise FloatingPointError("not a number")
        return [item.upper() for item in items]


def fail() -> None:
    raise FloatingPointError("not a number")


async def test_the_earliest_deadline_comes_first_and_of_equals_who_came_first() -> None:
    async with held() as h:
        names = [("c", 3.0), ("a", 1.0), ("b", 2.0), ("b2", 2.0), ("a2", 1.0)]
        waiting = [h.run(name, deadline) for name, deadline in names]
        assert h.thread.num_waiting == 5
        h.gate.set()
        await asyncio.gather(*waiting)
        assert h.done == ["a", "a2", "b", "b2", "c"]


async def test_a_call_that_is_not_wanted_any_more_is_left_out_and_no_other() -> None:
    async with held() as h:
        waiting = [h.run(name, number) for number, name in enumerate("abcd")]
        waiting[1].cancel()
        await asyncio.sleep(0)  # the thread is told by the loop
        h.gate.set()
        await asyncio.gather(waiting[0], *waiting[2:])
        assert h.done == ["a", "c", "d"]


async def test_an_error_is_that_of_its_call_alone() -> None:
    async with held() as h:
        failing, other = h.thread.run(Due(1.0), fail), h.run("a", 2.0)
        h.gate.set()
        with pytest.raises(FloatingPointError, match="not a number"):
            await failing
        await other
        assert h.done == ["a"]


async def test_the_end_waits_for_the_call_that_runs_and_cancels_the_others() -> None:
    async with held() as h:
        waiting = [h.run(name, 1.0) for name in "ab"]
        closing = asyncio.create_task(asyncio.to_thread(h.thread.close))
        async with asyncio.timeout(30):
            while h.thread.num_waiting:  # noqa: ASYNC110  # another thread takes them out
                await asyncio.sleep(0.001)
        h.gate.set()
        await closing
        await asyncio.to_thread(h.thread.close)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)
        assert h.done == []


async def test_those_that_wait_are_made_together_up_to_the_most() -> None:
    async with held() as h:
        made = Together(3)
        waiting = [
            h.thread.join(Due(number), made.batch, name) for number, name in enumerate("abcd")
        ]
        h.gate.set()
        assert await asyncio.gather(*waiting) == ["A", "B", "C", "D"]
        assert made.calls == [["a", "b", "c"], ["d"]]


async def test_what_comes_between_them_is_not_overtaken() -> None:
    async with held() as h:
        made = Together(9)
        first = h.thread.join(Due(1.0), made.batch, "a")
        between = h.run("between", 2.0)
        last = [h.thread.join(Due(3.0), made.batch, name) for name in "bc"]
        h.gate.set()
        await asyncio.gather(first, between, *last)
        assert made.calls == [["a"], ["b", "c"]]


async def test_one_of_a_batch_that_cannot_be_made_takes_no_other_with_it() -> None:
    async with held() as h:
        made = Together(3)
        names = ["a", "bad", "c"]
        waiting = [
            h.thread.join(Due(number), made.batch, name) for number, name in enumerate(names)
        ]
        h.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [results[0], results[2]] == ["A", "C"]
        assert isinstance(results[1], FloatingPointError)
        assert made.calls == [names, ["a"], ["bad"], ["c"]]


async def test_one_of_a_batch_that_is_not_wanted_any_more_is_left_out() -> None:
    async with held() as h:
        made = Together(3)
        waiting = [
            h.thread.join(Due(number), made.batch, name) for number, name in enumerate("abc")
        ]
        waiting[1].cancel()
        await asyncio.sleep(0)  # the thread is told by the loop
        h.gate.set()
        first, last = await asyncio.gather(waiting[0], waiting[2])
        assert (first, last) == ("A", "C")
        assert made.calls == [["a", "c"]]


def test_no_more_are_taken_along_than_the_first_has_time_for() -> None:
    batch: Batch[str, str] = Batch(lambda items: items, 4)
    assert batch.allowed(0.01) == 4  # nothing is known
    batch.took(1, 0.1)
    assert [batch.allowed(left_s) for left_s in (0.15, 0.25, 0.35, 0.45)] == [1, 2, 3, 4]
    batch.took(4, 0.15)
    assert [batch.allowed(left_s) for left_s in (0.12, 0.16)] == [1, 4]


def test_one_that_is_late_in_any_case_takes_as_many_along_as_there_are() -> None:
    batch: Batch[str, str] = Batch(lambda items: items, 4)
    batch.took(1, 0.1)
    assert batch.allowed(0.05) == 4
    assert batch.allowed(-3.0) == 4


def test_what_a_size_takes_is_learnt_from_what_it_took() -> None:
    batch: Batch[str, str] = Batch(lambda items: items, 2)
    batch.took(1, 0.1)
    batch.took(2, 0.5)
    assert batch.allowed(0.3) == 1
    for _ in range(20):
        batch.took(2, 0.12)
    assert batch.allowed(0.3) == 2
