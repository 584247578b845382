"""An event loop in a thread of its own."""

import asyncio
import threading

import pytest

from talkingmachines._portal import Portal

pytestmark = pytest.mark.unit


async def name_of_thread() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise LookupError("in the loop")


def test_work_is_done_in_the_thread_and_its_errors_come_back() -> None:
    portal = Portal()

    assert not portal.is_running
    assert portal.run(name_of_thread()) == "talkingmachines"
    with pytest.raises(LookupError, match="in the loop"):
        portal.run(fail())
    portal.close()
    assert not portal.is_running


def test_closing_ends_what_still_runs() -> None:
    portal, ended = Portal(), threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def begin() -> None:
        tasks.append(asyncio.create_task(forever()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    portal.run(begin())
    portal.close()
    portal.close()

    assert ended.is_set()


def test_who_would_wait_for_itself_is_told() -> None:
    portal = Portal()

    async def callback() -> None:
        portal.run(fail())

    with pytest.raises(RuntimeError, match="hand it to another thread"):
        portal.run(callback())
    portal.close()


def test_a_portal_that_was_never_used_has_nothing_to_close() -> None:
    Portal().close()
