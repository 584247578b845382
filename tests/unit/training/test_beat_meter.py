"""The meter of beat alignment, on movements and beats that are known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift  # type: ignore[import-untyped]  # no stubs

from training.meters.beats import (
    beat_alignment,
    head_path,
    measure_alignment,
    measure_tracking,
    motion_beats,
)

pytestmark = pytest.mark.unit


def swaying(turns_s: np.ndarray, seconds: float = 8.0) -> np.ndarray:
    """A path whose turning points lie at multiples of a known period."""
    period = turns_s[1] - turns_s[0]
    time = (np.arange(int(25 * seconds)) + 0.5) / 25
    return np.stack([np.cos(np.pi * (time - turns_s[0]) / period), 0 * time], axis=1)


def test_the_turns_of_a_movement_are_its_beats() -> None:
    turns = np.arange(0.5, 7.5, 0.5)
    found = motion_beats(swaying(turns))
    found = found[(found > 0.75) & (found < 7.25)]
    assert np.abs(found[:, None] - turns[None]).min(axis=1).max() < 0.02
    assert len(found) == 13


def test_a_still_head_has_no_beats() -> None:
    assert len(motion_beats(np.ones((100, 2)))) == 0
    assert beat_alignment(np.zeros(0), np.arange(5.0)) == 0.0


def test_alignment_falls_with_the_distance() -> None:
    beats = np.arange(1.0, 6.0)
    assert beat_alignment(beats, beats) == 1.0
    assert beat_alignment(beats + 0.05, beats) == pytest.approx(np.exp(-0.5))
    assert beat_alignment(beats + 0.5, beats) < 1e-6


def test_aligned_videos_stand_out_from_shuffled_ones_and_others_do_not() -> None:
    periods = (0.41, 0.47, 0.53, 0.59, 0.67, 0.73)
    music = [np.arange(0.3, 20.0, period) for period in periods]
    own = measure_alignment(music, music, 2.0, 18.0)
    assert own.own == pytest.approx(1.0)
    assert own.standard_errors > 10
    wrong = measure_alignment([*music[1:], music[0]], music, 2.0, 18.0)
    assert wrong.standard_errors < 2


def test_one_piece_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="1 pieces given, at least 2"):
        measure_alignment([np.ones(3)], [np.ones(3)], 0.0, 1.0)


def test_a_found_beat_counts_once_and_within_the_tolerance() -> None:
    truth = np.arange(5.0, 10.0)
    perfect = measure_tracking(truth + 0.03, truth)
    assert perfect.f_measure == 1.0
    assert perfect.late_s == pytest.approx(0.03)
    assert measure_tracking(truth + 0.1, truth).f_measure == 0.0
    twice = measure_tracking(np.sort(np.concatenate([truth, truth + 0.5])), truth)
    assert (twice.precision, twice.recall) == (0.5, 1.0)


def test_the_head_is_found_in_pixels_though_the_mouth_moves() -> None:
    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.uniform(0, 255, (256, 256)), 4) * 4 % 255
    scene = gaussian_filter(scene, 2)
    moved = np.stack([0.8 * np.cos(np.arange(20) / 3), 0.5 * np.sin(np.arange(20) / 2)], axis=1)
    frames = []
    for dx, dy in moved:
        picture = shift(scene, (dy, dx), order=3, mode="nearest")
        picture[150:170, 110:150] = rng.uniform(0, 255)  # the mouth, below the box's upper edge
        frames.append(np.repeat(picture[..., None], 3, axis=2).clip(0, 255).astype(np.uint8))
    path = head_path(np.stack(frames), (110, 150, 150, 170))
    centred = moved - moved.mean(axis=0)
    assert np.abs(path - path.mean(axis=0) - centred).max() < 0.12
