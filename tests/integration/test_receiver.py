"""The receiver that the benchmarks measure with, in a real call whose truth is known."""

import asyncio

import numpy as np
import pytest

from avatar.speech.marker import symbols_of
from bench.receiver import Receiver, booked
from bench.receiver_marks import (
    drift_ms,
    frame_rate,
    look,
    marks_shown,
    offsets,
    tones_heard,
)
from tests.fakes.marker_calls import marker_calls

pytestmark = pytest.mark.integration

SAID = ("Mark 5 from 7.", "Stall 700 score_worker.", "Mark 5 from 100.")


async def test_tones_and_pictures_of_a_call_are_received_and_aligned() -> None:
    receiver = Receiver(look)
    async with marker_calls() as url, booked(url) as booking, receiver.connected(booking) as call:
        await call.event("session.created")
        call.say(" ".join(SAID))
        await call.event("avatar.playback.finished")
        await asyncio.sleep(1)
    tones, shown = tones_heard(call.sound), marks_shown(call.pictures)
    symbols = [tone.symbol for tone in tones]
    # a busy machine may leave some out, and neither repeats nor exchanges any
    assert is_part_of(symbols, [symbol for each in SAID for symbol in symbols_of(each)])
    assert len(symbols) >= 240
    found = offsets(tones, shown)
    assert len(found.ms) >= 235
    assert found.num_only_shown <= 10
    assert np.percentile(np.abs(found.ms), 95) <= 60
    assert abs(drift_ms(found)) <= 5
    assert frame_rate(shown) > 20


def is_part_of(some: list[int], whole: list[int]) -> bool:
    """Whether `some` is `whole` with none, or a few, left out."""
    rest = iter(whole)
    return all(each in rest for each in some)
