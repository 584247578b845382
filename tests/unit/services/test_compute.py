"""The compute thread of a stage: whose call is next, what becomes of errors and of an end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.compute import ComputeThread

pytestmark = pytest.mark.unit


@dataclass
class Held:
    """A compute thread that is busy with its first call until `gate` opens."""

    thread: ComputeThread
    gate: threading.Event
    done: list[str] = field(default_factory=list)

    def run(self, name: str, deadline: float) -> "asyncio.Future[None]":
        return self.thread.run(deadline, self.done.append, name)


@asynccontextmanager
async def held() -> AsyncIterator[Held]:
    thread, gate, reached = ComputeThread("test"), threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert gate.wait(30)

    first = thread.run(0.0, hold)
    try:
        assert await asyncio.to_thread(reached.wait, 30)
        yield Held(thread, gate)
        await asyncio.wait_for(first, 30)
    finally:
        gate.set()
        await asyncio.to_thread(thread.close)


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
        failing, other = h.thread.run(1.0, fail), h.run("a", 2.0)
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
