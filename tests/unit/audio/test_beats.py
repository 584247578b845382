"""The beat tracker finds known beats, and believes in none where there is none."""

import numpy as np
import pytest

from avatar.audio.beats import Beat, beat_times, init_beats, track_beats
from tests.streaming.test_beats_stream import clicks

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("bpm", [64, 96, 128, 176])
def test_clicks_are_found_to_within_30_ms(bpm: int) -> None:
    beats, _ = track_beats(clicks(bpm, 12.0), init_beats())
    found = beat_times(beats)
    late = found[found > 7.0]
    truth = np.arange(0.3, 13.0, 60.0 / bpm)
    away = np.abs(late[:, None] - truth[None]).min(axis=1)
    assert len(late) >= 0.9 * (4.8 * bpm / 60 - 1)
    assert away.max() <= 0.03
    assert abs(beats[-1].bpm / bpm - 1) < 0.02
    assert beats[-1].confidence > 0.8


def test_silence_has_no_beat_and_leaves_an_old_one() -> None:
    quiet, _ = track_beats(np.zeros(32_000, np.float32), init_beats())
    assert max(beat.confidence for beat in quiet) < 0.1
    sound = np.concatenate([clicks(110, 4.8), np.zeros(40 * 16_000, np.float32)])
    after, _ = track_beats(sound, init_beats())
    assert after[470].confidence > 0.8
    assert after[-1].confidence < 0.4


def test_bursts_at_random_times_are_no_beat() -> None:
    rng = np.random.default_rng(3)
    sound = np.zeros(9 * 16_000, np.float32)
    for start in np.cumsum(rng.uniform(0.12, 0.9, 15)):
        first = int(start * 16_000)
        length = min(800, len(sound) - first)
        if length > 0:
            sound[first : first + length] += 0.3 * rng.standard_normal(length).astype(np.float32)
    beats, _ = track_beats(sound, init_beats())
    assert np.mean([beat.confidence > 0.5 for beat in beats]) < 0.15


def test_loudness_does_not_matter() -> None:
    sound = clicks(120, 4.8)
    loud, _ = track_beats(sound, init_beats())
    soft, _ = track_beats(np.float32(0.1) * sound, init_beats())
    assert loud[-1].period_s == pytest.approx(soft[-1].period_s, rel=0.02)
    assert abs((loud[-1].phase - soft[-1].phase + 0.5) % 1 - 0.5) < 0.1


def test_the_next_beat_is_foretold_from_the_phase() -> None:
    beat = Beat(time_s=10.0, phase=0.25, period_s=0.4, confidence=1.0, onset=0.0)
    assert beat.phase_at(10.1) == pytest.approx(0.5)
    assert beat.next_beat_s(10.0) == pytest.approx(10.3)
    assert beat.next_beat_s(10.31) == pytest.approx(10.7)
    assert beat.bpm == pytest.approx(150)
