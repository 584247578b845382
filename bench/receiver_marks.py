"""What the marks of the marker profile say at the receiver: sound against picture, and gaps."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from avatar.audio.resample import resample
from avatar.engines.pattern import Mark, read
from avatar.media import SPEECH_RATE
from avatar.speech.tones import read_tones
from bench.receiver_tracks import SOUND_RATE, Track, sound_of

SAME_S = 2.0
"""A tone and a picture of the same number belong together within this; the counter's period is
9.6 s."""


@dataclass(frozen=True)
class HeardTone:
    """A tone that is due at `due_s` of the sender's wall clock; `rtp` is its onset."""

    due_s: float
    rtp: float
    symbol: int


@dataclass(frozen=True)
class ShownMark:
    """A picture's mark; None where the picture is between two, or damaged."""

    due_s: float
    arrived_s: float
    mark: Mark | None


@dataclass(frozen=True)
class Offsets:
    """Picture minus sound, in ms, of each number that was both heard and shown, in order.

    Positive: the picture is late. `at_s` is when the tone was due.
    """

    at_s: NDArray[np.float64]
    ms: NDArray[np.float64]
    num_only_shown: int
    num_only_heard: int


def look(frame: VideoFrame) -> Mark | None:
    return read(frame.to_ndarray(format="gray").astype(np.uint8, copy=False))


def tones_heard(sound: Track[NDArray[np.int16]]) -> list[HeardTone]:
    first, samples = sound_of(sound)
    onsets = (
        (first + tone.start_s * SOUND_RATE, tone.symbol)
        for tone in read_tones(resample(samples, SOUND_RATE, SPEECH_RATE))
    )
    return [HeardTone(sound.due_s(rtp), rtp, symbol) for rtp, symbol in onsets]


def marks_shown(pictures: Track[Mark | None]) -> list[ShownMark]:
    return [
        ShownMark(pictures.due_s(each.rtp), each.arrived_s, each.what) for each in pictures.received
    ]


def first_shown(shown: Sequence[ShownMark]) -> list[ShownMark]:
    """Without pictures that are given again while a chunk is late, and without damaged ones."""
    new: list[ShownMark] = []
    for each in shown:
        if each.mark is not None and (not new or each.mark != new[-1].mark):
            new.append(each)
    return new


def offsets(tones: Sequence[HeardTone], shown: Sequence[ShownMark]) -> Offsets:
    instants: defaultdict[int, list[float]] = defaultdict(list)
    for tone in tones:
        instants[tone.symbol].append(tone.due_s)
    pairs: list[tuple[float, float]] = []
    num_only_shown = 0
    for each in first_shown(shown):
        mark = each.mark
        if mark is None or mark.symbol is None:
            continue
        shown_s = each.due_s + mark.phase_ms / 1000
        heard_s = _nearest(instants[mark.symbol], shown_s)
        if heard_s is None or abs(shown_s - heard_s) > SAME_S:
            num_only_shown += 1
        else:
            pairs.append((heard_s, 1000 * (shown_s - heard_s)))
    at_s, ms = np.array(pairs).reshape(-1, 2).T
    num_only_heard = len(tones) - len(set(at_s.tolist()))
    return Offsets(at_s, ms, num_only_shown, num_only_heard)


def _nearest(ordered: Sequence[float], value: float) -> float | None:
    at = bisect_left(ordered, value)
    return min(ordered[max(0, at - 1) : at + 1], key=lambda each: abs(each - value), default=None)


def drift_ms(found: Offsets) -> float:
    """Median of the last tenth of the offsets less that of the first tenth."""
    tenth = max(1, len(found.ms) // 10)
    return float(np.median(found.ms[-tenth:]) - np.median(found.ms[:tenth]))


def frame_rate(shown: Sequence[ShownMark]) -> float:
    """New frames a second of the call's own time."""
    new = first_shown(shown)
    return (len(new) - 1) / (new[-1].due_s - new[0].due_s)


def longest_wait_s(instants: Sequence[float]) -> float:
    """The longest wait for the next of these."""
    return float(np.diff(instants).max()) if len(instants) > 1 else float("inf")
