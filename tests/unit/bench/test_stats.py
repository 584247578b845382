"""Spreads of repeated measurements, and time that lies in two places at once."""

import pytest

from bench.stats import covered, overlap, spread

pytestmark = pytest.mark.unit


def test_a_spread_tells_median_95th_percentile_and_extremes() -> None:
    told = spread([float(value) for value in range(1, 102)])
    assert told == {"median": 51, "p95": 96, "least": 1, "most": 101, "count": 101}


def test_seconds_become_milliseconds() -> None:
    assert spread([0.25, 0.75], 1000)["median"] == 500


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_time_in_several_intervals_counts_once() -> None:
    assert covered([(0, 2), (1, 3), (5, 6), (5.2, 5.4)]) == 4


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        ([(0, 1), (2, 3)], [(1, 2)], 0),
        ([(0, 4)], [(1, 2), (3, 5)], 2),
        ([(0, 2), (1, 3)], [(2, 4)], 1),
        ([], [(0, 1)], 0),
    ],
)
def test_overlap_is_the_time_in_which_both_compute(
    a: list[tuple[float, float]], b: list[tuple[float, float]], both: float
) -> None:
    assert overlap(a, b) == overlap(b, a) == both
