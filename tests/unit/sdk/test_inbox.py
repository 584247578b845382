"""What waits to be read in a live session."""

import asyncio

import pytest

import talkingmachines as tm
from talkingmachines._inbox import MAX_EVENTS, MAX_FRAMES, Inbox, Kind

pytestmark = pytest.mark.unit


def sound(number: int) -> tm.Sound:
    return tm.Sound(960 * number, b"")


def picture(number: int, *, is_key: bool = False) -> tm.Picture:
    return tm.Picture(1920 * number, b"", is_key)


async def test_steps_come_in_the_order_in_which_they_were_put() -> None:
    inbox = Inbox()
    steps: list[tm.LiveStep] = [sound(0), tm.Swapped("otto"), picture(0), tm.Ended("hung_up")]
    for step in steps:
        inbox.put(step)

    assert [await inbox.take("all") for _ in steps] == steps


async def test_each_kind_is_taken_without_the_other() -> None:
    inbox = Inbox()
    for step in (sound(0), tm.Swapped("otto"), picture(0, is_key=True)):
        inbox.put(step)

    assert await inbox.take("events") == tm.Swapped("otto")
    assert await inbox.take("frames") == sound(0)
    assert await inbox.take("all") == picture(0, is_key=True)


async def test_who_waits_is_woken_by_its_own_kind() -> None:
    inbox = Inbox()
    events = asyncio.ensure_future(inbox.take("events"))
    frames = asyncio.ensure_future(inbox.take("frames"))
    await asyncio.sleep(0)
    inbox.put(sound(0))
    assert await frames == sound(0)
    assert not events.done()
    inbox.put(tm.Swapped("otto"))

    assert await events == tm.Swapped("otto")


async def test_the_oldest_frames_go_where_too_many_are_unread() -> None:
    inbox = Inbox()
    inbox.put(tm.Swapped("otto"))
    for number in range(MAX_FRAMES + 3):
        inbox.put(sound(number))

    assert inbox.num_dropped == 3
    assert await inbox.take("frames") == sound(3)
    assert await inbox.take("events") == tm.Swapped("otto")


def too_many_events() -> Inbox:
    inbox = Inbox()
    inbox.put(sound(0))
    for number in range(MAX_EVENTS + 1):
        inbox.put(tm.Swapped(str(number)))
    inbox.put(sound(1))
    return inbox


@pytest.mark.parametrize("kind", ["all", "events"])
async def test_after_the_events_that_could_be_kept_comes_an_error_and_no_gap(kind: Kind) -> None:
    inbox = too_many_events()
    steps = [await inbox.take(kind) for _ in range(MAX_EVENTS + (kind == "all"))]

    events = [step for step in steps if isinstance(step, tm.Swapped)]
    assert [event.avatar for event in events] == [str(n) for n in range(MAX_EVENTS)]
    inbox.put(tm.Swapped("later"))
    inbox.finish(None)
    for _ in range(2):
        with pytest.raises(tm.EventsLost, match=f"More than {MAX_EVENTS} events"):
            await inbox.take(kind)


async def test_who_reads_frames_alone_goes_on() -> None:
    inbox = too_many_events()
    inbox.finish(None)

    assert [await inbox.take("frames") for _ in range(3)] == [sound(0), sound(1), None]
    assert inbox.num_dropped == 0


async def test_all_events_that_fit_are_kept() -> None:
    inbox = Inbox()
    for number in range(MAX_EVENTS):
        inbox.put(tm.Swapped(str(number)))
    assert await inbox.take("events") == tm.Swapped("0")
    inbox.put(tm.Swapped("one more"))
    inbox.finish(None)
    last = [await inbox.take("events") for _ in range(MAX_EVENTS)][-1]

    assert last == tm.Swapped("one more")
    assert await inbox.take("events") is None


async def test_after_a_gap_pictures_go_on_with_one_that_can_be_decoded() -> None:
    inbox = Inbox()
    inbox.put(picture(0, is_key=True))
    for number in range(1, MAX_FRAMES):
        inbox.put(picture(number))
    inbox.put(picture(MAX_FRAMES, is_key=True))
    inbox.put(picture(MAX_FRAMES + 1))

    assert await inbox.take("frames") == picture(MAX_FRAMES, is_key=True)
    assert await inbox.take("frames") == picture(MAX_FRAMES + 1)
    assert inbox.num_dropped == MAX_FRAMES


async def test_what_is_there_is_read_before_the_end_and_the_error() -> None:
    inbox = Inbox()
    inbox.put(sound(0))
    inbox.finish(tm.SessionLost("Gone."))

    assert await inbox.take("all") == sound(0)
    for _ in range(2):
        with pytest.raises(tm.SessionLost, match=r"Gone\."):
            await inbox.take("all")


async def test_an_end_in_order_is_none() -> None:
    inbox = Inbox()
    waiting = asyncio.ensure_future(inbox.take("all"))
    await asyncio.sleep(0)
    inbox.finish(None)

    assert await waiting is None
