"""What waits to be read in a live session."""

import asyncio

import pytest

import talkingmachines as tm
from talkingmachines._inbox import MAX_EVENTS, MAX_FRAMES, Inbox

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


async def test_events_are_bounded_too() -> None:
    inbox = Inbox()
    for number in range(MAX_EVENTS + 1):
        inbox.put(tm.Swapped(str(number)))

    assert await inbox.take("all") == tm.Swapped("1")


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
