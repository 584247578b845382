"""What is told of repeated measurements."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Of `count` values, in the unit of what was measured."""

    median: float
    p95: float
    least: float
    most: float
    count: int


def spread(values: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """A Spread as plain numbers; `scale` 1000 makes seconds milliseconds.

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("nothing was measured")
    scaled = np.asarray(values, np.float64) * scale
    median, p95 = np.percentile(scaled, [50, 95])
    return asdict(
        Spread(float(median), float(p95), float(scaled.min()), float(scaled.max()), len(scaled))
    )


Interval = tuple[float, float]
"""Start and end, in seconds of one clock."""


def covered(intervals: Sequence[Interval]) -> float:
    """Seconds that lie in at least one of the intervals."""
    return sum(end - start for start, end in _merged(intervals))


def overlap(a: Sequence[Interval], b: Sequence[Interval]) -> float:
    """Seconds that lie in one of `a` and in one of `b`."""
    return covered(a) + covered(b) - covered([*a, *b])


def _merged(intervals: Sequence[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
