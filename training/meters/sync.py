"""Does the mouth say the words? Correlation and lag of two curves, and rest after speech."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float32]
FPS = 25


@dataclass(frozen=True)
class Sync:
    """Best correlation of a measured curve with the true one, and where it lies.

    `lag_ms` is positive where the picture is late.
    """

    correlation: float
    lag_ms: float
    zero_lag: float
    amplitude_ratio: float


def measure_sync(measured: Curve, truth: Curve, max_lag: int = 6) -> Sync:
    """Compare two (T,) curves at 25 fps over lags of up to `max_lag` frames."""
    length = min(len(measured), len(truth))
    a, b = measured[:length], truth[:length]
    scores = {lag: _correlation_at(a, b, lag) for lag in range(-max_lag, max_lag + 1)}
    best = max(scores, key=lambda lag: scores[lag])
    ratio = float(a.std() / max(float(b.std()), 1e-6))
    return Sync(scores[best], 1000 * best / FPS, scores[0], ratio)


def _correlation_at(measured: Curve, truth: Curve, lag: int) -> float:
    """Correlation of measured[t + lag] with truth[t]."""
    if lag >= 0:
        a, b = measured[lag:], truth[: len(truth) - lag]
    else:
        a, b = measured[:lag], truth[-lag:]
    if a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def frames_at_rest(speaking: NDArray[np.bool_], margin_s: float = 0.32) -> NDArray[np.bool_]:
    """Frames at least `margin_s` from any frame in which somebody speaks."""
    margin = round(margin_s * FPS)
    near = np.convolve(speaking.astype(np.int64), np.ones(2 * margin + 1, np.int64), "same")
    return near == 0
