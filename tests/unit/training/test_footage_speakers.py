"""Mouths are compared with speech: who speaks, how late, and what is neither."""

import numpy as np
import pytest

from training.data.footage.speakers import (
    Curves,
    SyncRules,
    Verdict,
    judge_clip,
    loud_frames,
    scores_by_lag,
)
from training.data.footage.tracks import FaceTrack

pytestmark = pytest.mark.unit

LENGTH, CLIP, START = 200, 81, 60
LOUD = np.ones(LENGTH, bool)


def babble(seed: int) -> Curves:
    """Curves that move about as fast as mouths do."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((LENGTH + 4, 3))
    smooth = sum(white[i : i + LENGTH] for i in range(5)) / 3
    return np.clip(0.35 + 0.3 * smooth, 0.0, 1.0).astype(np.float32)


def late(curves: Curves, frames: int) -> Curves:
    return np.roll(curves, frames, axis=0)


def judged(*mouths: Curves, spoken: Curves, is_loud: np.ndarray = LOUD) -> list[Verdict]:
    tracks = [FaceTrack(0, np.zeros((LENGTH, 5), np.float32)) for _ in mouths]
    return judge_clip(tracks, list(mouths), spoken, is_loud, START, CLIP, SyncRules())


def kinds(*mouths: Curves, spoken: Curves, is_loud: np.ndarray = LOUD) -> list[str]:
    return [verdict.kind for verdict in judged(*mouths, spoken=spoken, is_loud=is_loud)]


def test_the_mouth_that_says_it_is_the_speaker() -> None:
    assert kinds(babble(1), babble(2), spoken=babble(2)) == ["unmatched", "speaking"]


def test_a_shut_mouth_beside_a_speaker_listens() -> None:
    assert kinds(babble(1), np.zeros_like(babble(1)), spoken=babble(1)) == ["speaking", "listening"]


@pytest.mark.parametrize("frames", [-12, -5, 5, 9])
def test_a_mouth_200_ms_off_is_off_sync(frames: int) -> None:
    (verdict,) = judged(late(babble(3), frames), spoken=babble(3))
    assert (verdict.kind, verdict.lag) == ("off_sync", frames)


@pytest.mark.parametrize("frames", [-3, 0, 2])
def test_a_small_lag_is_kept_and_told(frames: int) -> None:
    (verdict,) = judged(late(babble(3), frames), spoken=babble(3))
    assert (verdict.kind, verdict.lag) == ("speaking", frames)


def test_a_voice_that_no_face_has_matches_none() -> None:
    assert kinds(babble(1), babble(2), spoken=babble(3)) == ["unmatched", "unmatched"]


def test_two_mouths_that_say_the_same_are_ambiguous() -> None:
    assert kinds(babble(1), babble(1), spoken=babble(1)) == ["ambiguous", "ambiguous"]


def test_where_nothing_is_heard_a_shut_mouth_is_silent_and_a_moving_one_unmatched() -> None:
    quiet = np.zeros(LENGTH, bool)
    shut = np.zeros_like(babble(1))
    assert kinds(babble(1), shut, spoken=shut, is_loud=quiet) == ["unmatched", "silent"]


def test_a_track_that_is_not_there_all_the_time_gets_no_verdict() -> None:
    tracks = [FaceTrack(START + 1, np.zeros((100, 5), np.float32))]
    assert judge_clip(tracks, [babble(1)], babble(1), LOUD, START, CLIP, SyncRules()) == []


def test_the_score_is_1_for_the_mouth_itself_and_0_for_one_that_rests() -> None:
    spoken = babble(4)
    assert scores_by_lag(spoken[START : START + CLIP], spoken, START).max() == pytest.approx(1.0)
    assert not scores_by_lag(np.zeros((CLIP, 3), np.float32), spoken, START).any()


def test_lags_beyond_the_ends_of_the_film_are_scored_too() -> None:
    spoken = babble(5)
    assert np.isfinite(scores_by_lag(spoken[:CLIP], spoken, 0)).all()
    assert np.isfinite(scores_by_lag(spoken[-CLIP:], spoken, LENGTH - CLIP)).all()


def test_loudness_is_told_frame_by_frame_and_background_noise_is_not_loud() -> None:
    rng = np.random.default_rng(0)
    sound = 0.001 * rng.standard_normal(20 * 640).astype(np.float32)
    sound[5 * 640 : 10 * 640] = 0.3 * rng.standard_normal(5 * 640).astype(np.float32)
    assert np.flatnonzero(loud_frames(sound)).tolist() == [5, 6, 7, 8, 9]
    assert not loud_frames(np.zeros(6400, np.float32)).any()
