"""Does the mouth say the words? Correlation and lag of two curves, and rest after speech."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float32]
Frames = NDArray[np.bool_]
"""(T,) a claim about each frame."""
FPS = 25


@dataclass(frozen=True)
class Sync:
    """Best correlation of a measured curve with the true one, and where it lies.

    `lag_ms` is positive where the picture is late. `amplitude_ratio` is the ratio of spreads.
    """

    correlation: float
    lag_ms: float
    zero_lag: float
    amplitude_ratio: float


def measure_sync(
    measured: Curve, truth: Curve, max_lag: int = 6, where: Frames | None = None
) -> Sync:
    """Compare two (T,) curves at 25 fps over lags of up to `max_lag` frames.

    `where` chooses frames of the truth; None means all.
    """
    length = min(len(measured), len(truth))
    chosen = np.ones(length, np.bool_) if where is None else where[:length]
    scores = {
        lag: _correlation_at(measured[:length], truth[:length], lag, chosen)
        for lag in range(-max_lag, max_lag + 1)
    }
    best = max(scores, key=lambda lag: scores[lag])
    a, b = measured[:length][chosen], truth[:length][chosen]
    ratio = float(a.std() / max(float(b.std()), 1e-6)) if len(a) else 0.0
    return Sync(scores[best], 1000 * best / FPS, scores[0], ratio)


def _correlation_at(measured: Curve, truth: Curve, lag: int, where: Frames) -> float:
    """Correlation of measured[t + lag] with truth[t]."""
    at = np.flatnonzero(where)
    at = at[(at + lag >= 0) & (at + lag < len(measured))]
    return correlation(measured[at + lag], truth[at])


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's; 0 where one of them stands still, which follows nothing."""
    if len(a) < 2 or a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def frames_at_rest(speaking: Frames, margin_s: float = 0.32) -> Frames:
    """Frames at least `margin_s` from any frame in which somebody speaks."""
    margin = round(margin_s * FPS)
    near = np.convolve(speaking.astype(np.int64), np.ones(2 * margin + 1, np.int64), "same")
    return near == 0
