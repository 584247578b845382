"""Does a head move to the beat? Motion beats from pixels, and their alignment with the music's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[import-untyped]  # scipy has no stubs
    gaussian_filter,
    gaussian_filter1d,
    shift,
)
from scipy.signal import find_peaks  # type: ignore[import-untyped]  # scipy has no stubs

from avatar.cast.motion import MOTION_FPS

Floats = NDArray[np.float64]
FPS = MOTION_FPS
SIGMA_S = 0.05
"""Three frames of 60 a second, as in AIST++ (arXiv:2101.08779)."""
SMOOTHING_S = 0.08
"""A head turns at most four times a second; a decoder's frames tremble six times, once a latent."""


def head_path(frames: NDArray[np.uint8], mouth_box: tuple[int, int, int, int]) -> Floats:
    """(T, 2) where the head is, in pixels right and down of its mean place.

    The square above the mouth is laid over its mean picture by least squares (Lucas and Kanade
    1981), so that no speech moves it.

    Args:
        frames: (T, H, W, 3) RGB.
        mouth_box: x0, y0, x1, y1.
    """
    x0, y0, x1, _ = mouth_box
    half, middle = 56, (x0 + x1) // 2
    rows = slice(max(0, y0 - 100), y0 - 4)
    columns = slice(max(0, middle - half), middle + half)
    grey = frames[:, rows, columns].mean(axis=3, dtype=np.float64)
    smooth = np.stack([gaussian_filter(each, 1.5) for each in grey])
    # the edges move out of the picture
    inside = (slice(6, -6), slice(6, -6))
    mean = smooth.mean(axis=0)
    down, right = np.gradient(mean)
    slopes = np.stack([right[inside].ravel(), down[inside].ravel(), np.ones(mean[inside].size)], 1)
    solve = np.linalg.pinv(slopes)
    path = np.zeros((len(frames), 2))
    for i, picture in enumerate(smooth):
        for _ in range(4):
            dx, dy = path[i]
            laid = shift(picture, (-dy, -dx), order=1, mode="nearest")
            step = solve @ (mean - laid)[inside].ravel()
            path[i] += step[:2]
    return path


def motion_beats(path: Floats, fps: int = FPS) -> Floats:
    """(N,) seconds at which movement along a path (T, D) comes to a turn: its speed is least.

    Frame i of the path shows time (i + 0.5) / fps. Still stretches have no beats.
    """
    smooth = gaussian_filter1d(path, SMOOTHING_S * fps, axis=0, mode="nearest")
    speed = np.linalg.norm(np.diff(smooth, axis=0), axis=1)
    lively = float(np.quantile(speed, 0.9)) if len(speed) else 0.0
    if lively < 1e-3:
        return np.zeros(0)
    lowest, _ = find_peaks(-speed, prominence=0.2 * lively)
    left, here, right = speed[lowest - 1], speed[lowest], speed[lowest + 1]
    between = 0.5 * (left - right) / np.maximum(left - 2 * here + right, 1e-9)
    times: Floats = (lowest + np.clip(between, -0.5, 0.5) + 1.0) / fps
    return times


def beat_alignment(motion_s: Floats, music_s: Floats, sigma_s: float = SIGMA_S) -> float:
    """Beat alignment score: mean over motion beats of exp(-d^2 / 2 sigma^2), 0 where there is none.

    d is the time to the nearest beat of the music.
    """
    if not len(motion_s) or not len(music_s):
        return 0.0
    away = np.abs(motion_s[:, None] - music_s[None]).min(axis=1)
    return float(np.exp(-0.5 * (away / sigma_s) ** 2).mean())


@dataclass(frozen=True)
class Alignment:
    """Means over pieces: with the own music, with the other pieces', and how sure that is.

    `standard_error` is of the difference, over pieces.
    """

    own: float
    shuffled: float
    standard_error: float
    num_pieces: int

    @property
    def standard_errors(self) -> float:
        return (self.own - self.shuffled) / max(self.standard_error, 1e-9)


def measure_alignment(
    motion_s: Sequence[Floats], music_s: Sequence[Floats], from_s: float, until_s: float
) -> Alignment:
    """Every video against its own music and, as control, against every other piece.

    Args:
        motion_s: Motion beats of each video.
        music_s: Beats of each piece, in the same order.
        from_s: What comes before is not judged: a causal tracker must hear a beat first.
        until_s: Nor what comes after.

    Raises:
        ValueError: For fewer than two pieces: there is nothing to shuffle.
    """
    if len(motion_s) < 2:
        raise ValueError(f"{len(motion_s)} pieces given, at least 2 needed to shuffle them")
    judged = [motion[(motion >= from_s) & (motion < until_s)] for motion in motion_s]
    table = np.array([[beat_alignment(motion, music) for music in music_s] for motion in judged])
    count = len(table)
    own = np.diag(table)
    others = (table.sum(axis=1) - own) / (count - 1)
    error = float((own - others).std(ddof=1) / np.sqrt(count))
    return Alignment(float(own.mean()), float(others.mean()), error, count)


@dataclass(frozen=True)
class Tracking:
    """How well beats were found: F-measure, precision, recall; median lateness in seconds."""

    f_measure: float
    precision: float
    recall: float
    late_s: float


def measure_tracking(
    found_s: Floats, true_s: Floats, from_s: float = 4.0, tolerance_s: float = 0.07
) -> Tracking:
    """Compare beats from `from_s` on; each true beat may be found once, within the tolerance."""
    found, true = found_s[found_s >= from_s], true_s[true_s >= from_s]
    if not len(found) or not len(true):
        return Tracking(0.0, 0.0, 0.0, float("nan"))
    nearest = np.abs(true[None] - found[:, None]).argmin(axis=1)
    late = found - true[nearest]
    hits = len(set(nearest[np.abs(late) <= tolerance_s].tolist()))
    precision, recall = hits / len(found), hits / len(true)
    f_measure = 2 * hits / (len(found) + len(true))
    return Tracking(f_measure, precision, recall, float(np.median(late)))
