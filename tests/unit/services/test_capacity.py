"""How many slots a worker declares: by what a chunk costs, how many were asked for, and memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatar.backends.memory import num_bytes_of
from avatar.bus import Measured
from avatar.engines import Rehearsal
from avatar.media import AudioEmbedding, LatentChunk
from services.capacity import SHARE, Trial, declared, fitting, measure, memory_for, time_for
from tests.fakes.engines import (
    BatchedPainter,
    CountedClock,
    CountedPainter,
    Loudness,
    LoudnessPainter,
)

pytestmark = pytest.mark.unit

CHUNK_S = 0.48


def told(caplog: pytest.LogCaptureFixture, level: str) -> list[tuple[str, dict[str, Any]]]:
    """Events of that level, with their keys."""
    return [
        (each.getMessage(), getattr(each, "keys", {}))
        for each in caplog.records
        if each.levelname == level
    ]


def found(painter: CountedPainter, max_batch: int = 1) -> Measured:
    measured = measure(painter, CHUNK_S, max_batch, [painter.clock])
    assert measured is not None
    return measured[0]


@pytest.mark.parametrize(
    ("costs_s", "sessions"),
    [
        ({1: 0.03}, 12),
        ({1: 0.192}, 2),
        ({1: 0.193}, 1),
        ({1: 0.4}, 1),  # in time, though not within the share
        ({1: 5.0}, 1),
        ({1: 0.1, 4: 0.19}, 8),  # two batches of four
        ({1: 0.1, 4: 0.39}, 3),  # no whole batch within the share
    ],
)
def test_sessions_are_how_often_a_chunk_fits_into_its_share(
    costs_s: Mapping[int, float], sessions: int
) -> None:
    assert time_for(CHUNK_S, costs_s).sessions == sessions


def test_the_figures_are_those_of_the_size_that_was_chosen() -> None:
    assert time_for(CHUNK_S, {1: 0.1, 4: 0.19}) == Measured(CHUNK_S, 0.19, 4, 8)
    assert time_for(CHUNK_S, {1: 0.1, 4: 0.4}) == Measured(CHUNK_S, 0.1, 1, 3)
    assert time_for(CHUNK_S, {1: 1.0, 4: 3.0}) == Measured(CHUNK_S, 1.0, 1, 1)


def test_sessions_keep_within_the_share_at_any_cost() -> None:
    for cost_s in np.linspace(0.001, 0.38, 200):
        sessions = time_for(CHUNK_S, {1: float(cost_s)}).sessions
        assert sessions * cost_s <= SHARE * CHUNK_S + 1e-9 < (sessions + 1) * cost_s + 1e-9


def test_a_busy_neighbour_does_not_shrink_a_pool() -> None:
    calm, disturbed = CountedPainter(0.05), CountedPainter(9, 9, 9, 0.3, 0.05, 0.3, 0.4)
    assert found(disturbed).cost_s == pytest.approx(0.05)
    assert found(disturbed).sessions != found(calm).sessions  # later it really costs 0.4 s
    assert found(CountedPainter(9, 9, 9, 0.3, 0.05, 0.3, 0.4)).sessions == found(calm).sessions


def test_what_happens_once_is_not_measured() -> None:
    compiling = CountedPainter(60.0, 60.0, 60.0, 0.1)
    assert found(compiling).cost_s == pytest.approx(0.1)


def test_a_slow_one_is_not_tried_for_long() -> None:
    painter = CountedPainter(8.0)
    assert found(painter) == Measured(CHUNK_S, 8.0, 1, 1)
    assert painter.num_made == 5  # two to warm up, one of the size, two that count


def test_the_lesser_of_two_clocks_counts() -> None:
    """While others have the core, time goes by and no processor time."""
    painter = CountedPainter(0.1)
    wall = CountedClock()

    class Disturbed(CountedClock):
        def __call__(self) -> float:
            wall.now = 3 * painter.clock.now
            return wall.now

    measured = measure(painter, CHUNK_S, 1, [Disturbed(), painter.clock])
    assert measured is not None
    assert measured[0].cost_s == pytest.approx(0.1)


class Later:
    """Latents that a device is still making: who reads them waits."""

    def __init__(self, clock: CountedClock, rest_s: float) -> None:
        self.shape = (3, 1, 4, 4)
        self._clock, self._rest_s = clock, rest_s

    def wait(self) -> NDArray[np.float32]:
        self._clock.now += self._rest_s
        return np.zeros(self.shape, np.float32)

    def __array__(self, *_: object, **__: object) -> NDArray[np.float32]:
        return self.wait()


class LaterPainter(CountedPainter):
    """Comes back at once, and has what it made 0.2 s after."""

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        _, following = super().step(chunk, state)
        latents: Any = Later(self.clock, 0.2)
        return LatentChunk(chunk.stamp, latents), following


def test_what_is_still_being_made_is_waited_for() -> None:
    assert found(LaterPainter(0.001)).cost_s == pytest.approx(0.201)


def test_batches_are_measured_where_the_engine_makes_them() -> None:
    together, alone = found(BatchedPainter(0.1), max_batch=4), found(CountedPainter(0.1), 4)
    assert (together.together, together.sessions) == (4, 8)
    assert together.cost_s == pytest.approx(0.13)
    assert (alone.together, alone.sessions) == (1, 3)


def test_an_engine_that_cannot_be_tried_is_not_measured() -> None:
    assert measure(LoudnessPainter(), CHUNK_S) is None


@pytest.mark.parametrize(
    ("asked", "sessions", "fits", "slots"),
    [(2, 12, 64, 2), (8, 3, 64, 3), (None, 12, 64, 12), (None, 99, 64, 64), (None, 12, 5, 5)],
)
def test_slots_are_the_least_of_what_is_asked_for_possible_and_fits(
    asked: int | None, sessions: int, fits: int, slots: int
) -> None:
    measured = Measured(CHUNK_S, 0.03, 1, sessions)
    assert declared("score_worker", asked, measured, fits) == slots


def test_who_cannot_do_one_session_in_time_says_so_and_names_the_ways_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slots = declared("vae_decoder", 2, time_for(CHUNK_S, {1: 0.7}))
    [(event, keys)] = told(caplog, "WARNING")
    assert slots == 1
    assert event == "too_slow_for_one_session"
    assert (keys["cost_ms"], keys["chunk_ms"]) == (700.0, 480.0)
    assert "VAE_DEVICE" in keys["ways_out"]
    assert "tiny_vae" in keys["ways_out"]


def test_fewer_slots_than_asked_for_are_told(caplog: pytest.LogCaptureFixture) -> None:
    declared("score_worker", 5, time_for(CHUNK_S, {1: 0.15}))
    [(event, keys)] = told(caplog, "WARNING")
    assert event == "fewer_slots_than_asked"
    assert (keys["asked"], keys["slots"]) == (5, 2)


def test_who_keeps_what_was_asked_for_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    declared("score_worker", 2, time_for(CHUNK_S, {1: 0.15}))
    assert told(caplog, "WARNING") == []
    [(event, keys)] = told(caplog, "INFO")
    assert event == "capacity_measured"
    assert (keys["cost_ms"], keys["sessions"], keys["slots"]) == (150.0, 2, 2)


def test_memory_bounds_sessions_by_the_state_of_one() -> None:
    assert memory_for(state_bytes=10, free_bytes=100) == 6  # half of what is free, and the one
    assert memory_for(state_bytes=500, free_bytes=100) == 1
    assert memory_for(state_bytes=0, free_bytes=100) == 51  # no division by nothing


def test_a_states_arrays_are_counted_once_wherever_they_are() -> None:
    tensor, array = torch.zeros(10, dtype=torch.float16), np.zeros(3, np.float32)
    rehearsal = Rehearsal("mira", {"keys": [tensor, (tensor, array)]})
    assert num_bytes_of(rehearsal) == 20 + 12
    assert num_bytes_of(None) == 0


def test_a_small_state_fits_often() -> None:
    painter = CountedPainter(0.1)
    assert fitting(Trial(painter, painter.rehearsal())) > 64


def test_a_trial_leaves_the_session_where_it_is() -> None:
    seen: list[AudioEmbedding] = []

    class Watched(CountedPainter):
        def step(self, chunk, state, /):  # type: ignore[no-untyped-def]
            seen.append(chunk)
            return super().step(chunk, state)

    painter = Watched(0.1)
    trial = Trial(painter, painter.rehearsal())
    before = trial.state
    trial.cost_s(1, [painter.clock])
    assert trial.state == before
    assert [chunk.stamp.seq for chunk in seen] == [0, 1] + [2] * 6
