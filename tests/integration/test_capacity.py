"""The simulation of many sessions, small: real coordinators, stages and bus, engines of nothing."""

import pytest

from bench.capacity import SPARE, TOO_MANY, WORKER_SLOTS, measure_size

pytestmark = pytest.mark.integration


async def test_exactly_as_many_are_admitted_as_there_are_slots_and_all_are_served() -> None:
    slots = 3 * WORKER_SLOTS
    row = await measure_size(round(slots / (1 + SPARE)), hold_s=0.1)
    assert row["slots"] == slots
    assert (row["admitted"], row["refused"]) == (slots, 2 * TOO_MANY)
    assert row["open_ms"] > 0
