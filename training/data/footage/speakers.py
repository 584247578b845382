"""Who speaks, and whether picture and sound belong together: mouths compared with speech."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.footage.tracks import FaceTrack
from training.data.footage.video import SAMPLES_PER_FRAME

Curves = NDArray[np.float32]
Kind = Literal["speaking", "listening", "silent", "off_sync", "ambiguous", "unmatched"]
"""speaking: this mouth says what is heard. listening: another does, and this one is shut.
silent: nobody is heard, and the mouth is shut. off_sync: it says it, but too early or too late.
ambiguous: two mouths say it. unmatched: it moves to something else, or the voice is another's.
"""
SEARCHED_LAG = 15
"""Frames either way: 0.6 s."""
_WEIGHTS = np.array([1.0, 0.4, 0.4])
"""Of open, wide and round; the opening is read best."""
_SPEECH_SHARE = 0.15
"""Of its frames must be loud for a clip to hold speech."""
_GATE_DB = -50.0
_BELOW_LOUD_DB = -30.0
_SHUT = 0.10
"""A mouth that opens no more than this, by its 95th percentile over its median, is shut."""


@dataclass(frozen=True)
class SyncRules:
    min_score: float = 0.47
    max_lag: int = 3
    """Frames either way."""
    min_margin: float = 0.05
    """By which the best mouth must be better than the next."""


@dataclass(frozen=True)
class Verdict:
    """Of one face in one clip. `lag` in frames: positive where the picture is late."""

    track: int
    start: int
    kind: Kind
    score: float
    lag: int
    margin: float
    """Of its score over the best other mouth's; 2 where it is alone."""


def judge_clip(
    tracks: Sequence[FaceTrack],
    mouths: Sequence[Curves],
    spoken: Curves,
    is_loud: NDArray[np.bool_],
    start: int,
    num_frames: int,
    rules: SyncRules,
) -> list[Verdict]:
    """One verdict for each track that is there in all the frames [start, start + num_frames).

    Args:
        tracks: All of the video.
        mouths: (T, 3) of each track, as read from its pixels.
        spoken: (video's frames, 3), as heard in the sound.
        is_loud: (video's frames,) from `loud_frames`.
        start: First frame.
        num_frames: Length of the clip.
        rules: What counts as in sync.
    """
    end = start + num_frames
    there = [i for i, track in enumerate(tracks) if track.covers(start, end)]
    cut = {i: mouths[i][start - tracks[i].start : end - tracks[i].start] for i in there}
    if is_loud[start:end].mean() < _SPEECH_SHARE:
        return [_unheard(i, start, cut[i]) for i in there]
    by_lag = {i: scores_by_lag(cut[i], spoken, start) for i in there}
    best = {i: float(by_lag[i].max()) for i in there}
    verdicts = []
    for i in there:
        others = [best[j] for j in there if j != i]
        margin = best[i] - max(others) if others else 2.0
        lag = int(by_lag[i].argmax()) - SEARCHED_LAG
        kind = _kind(best[i], lag, margin, rules)
        verdicts.append(Verdict(i, start, kind, round(best[i], 4), lag, round(margin, 4)))
    someone_speaks = any(v.kind == "speaking" for v in verdicts)
    return [
        Verdict(v.track, v.start, "listening", v.score, v.lag, v.margin)
        if someone_speaks and v.kind != "speaking" and is_shut(cut[v.track])
        else v
        for v in verdicts
    ]


def scores_by_lag(mouth: Curves, spoken: Curves, start: int) -> NDArray[np.float64]:
    """(2 * SEARCHED_LAG + 1,) correlation of mouth[t] with spoken[start + t - lag], by lag.

    Always over all of the mouth's frames; beyond the video its first and last sounds go on.
    """
    num_frames = len(mouth)
    lags = np.arange(-SEARCHED_LAG, SEARCHED_LAG + 1)
    at = np.clip(start + np.arange(num_frames)[None] - lags[:, None], 0, len(spoken) - 1)
    heard = spoken[at].astype(np.float64)  # (lags, T, 3)
    seen = mouth.astype(np.float64)
    heard = heard - heard.mean(axis=1, keepdims=True)
    seen = seen - seen.mean(axis=0)
    together = np.einsum("ltc,tc->lc", heard, seen)
    apart = np.sqrt(np.square(heard).sum(axis=1) * np.square(seen).sum(axis=0))
    # what does not move correlates with nothing
    correlation = np.where(apart > 1e-6, together / np.maximum(apart, 1e-6), 0.0)
    scores: NDArray[np.float64] = correlation @ (_WEIGHTS / _WEIGHTS.sum())
    return scores


def loud_frames(sound: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(T,) whether anything is heard in each frame of (T * 640,) samples."""
    frames = sound.reshape(-1, SAMPLES_PER_FRAME)
    level = 10.0 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)
    gate = max(_GATE_DB, float(np.quantile(level, 0.95)) + _BELOW_LOUD_DB) if len(level) else 0.0
    loud: NDArray[np.bool_] = level > gate
    return loud


def is_shut(mouth: Curves) -> bool:
    opening = mouth[:, 0]
    return float(np.quantile(opening, 0.95) - np.median(opening)) < _SHUT


def _unheard(track: int, start: int, mouth: Curves) -> Verdict:
    kind: Kind = "silent" if is_shut(mouth) else "unmatched"
    return Verdict(track, start, kind, 0.0, 0, 0.0)


def _kind(score: float, lag: int, margin: float, rules: SyncRules) -> Kind:
    if score < rules.min_score or margin < -rules.min_margin:
        return "unmatched"
    if margin < rules.min_margin:
        return "ambiguous"
    return "speaking" if abs(lag) <= rules.max_lag else "off_sync"
