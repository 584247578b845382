"""A causal beat tracker: whether there is a beat, how long it is, and where in it the music is.

A forward filter over (tempo, phase) and one state "no beat": Bayes' rule, 100 times a second. The
states are those of the bar-pointer model (Whiteley, Cemgil and Godsill 2006) for a single beat; the
observation is an inhomogeneous Poisson process of onsets (`avatar.audio.onsets`): each phase of the
beat has a rate, highest on the beat, less between, and without a beat the rate is the same always.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from avatar.audio.onsets import FRAME_S, OnsetState, init_onsets, onset_strength

Floats = NDArray[np.float64]

SLOWEST_BPM, FASTEST_BPM = 55.0, 190.0
LATENCY_S = 0.02
"""A beat is known this long after it sounded: onsets show about two hops late in their windows."""


@dataclass(frozen=True)
class Beat:
    """What is known at `time_s` from the sound before it.

    `phase` in [0, 1) is 0 on a beat; `confidence` in [0, 1] is the probability that there is a
    beat at all; `onset` is the onset strength just then.
    """

    time_s: float
    phase: float
    period_s: float
    confidence: float
    onset: float

    @property
    def bpm(self) -> float:
        return 60.0 / self.period_s

    def phase_at(self, time_s: float) -> float:
        """Phase at another time near this one, if the tempo stays: in [0, 1)."""
        return (self.phase + (time_s - self.time_s) / self.period_s) % 1.0

    def next_beat_s(self, time_s: float) -> float:
        """When the first beat at or after `time_s` is expected."""
        return time_s + (-self.phase_at(time_s)) % 1.0 * self.period_s


NO_BEAT = Beat(0.0, 0.0, 0.5, 0.0, 0.0)


@dataclass(frozen=True)
class BeatState:
    """`belief` is (tempi, longest) over phases, `no_beat` the rest of the probability.

    `mean_onset` is the rate of onsets lately; `frames` how many were heard.
    """

    onsets: OnsetState
    belief: Floats
    no_beat: float
    mean_onset: float
    frames: int


def init_beats() -> BeatState:
    """Nothing heard: surely no beat."""
    return BeatState(init_onsets(), np.zeros(_phases().shape), 1.0, 0.0, 0)


def track_beats(samples: NDArray[np.float32], state: BeatState) -> tuple[list[Beat], BeatState]:
    """Follow the beat through the next samples.

    Args:
        samples: (S,) float32 at 16 kHz, S a multiple of 160.
        state: From `init_beats` or the call before.

    Returns:
        One `Beat` for each 10 ms, of times counted from the beginning of the stream; next state.

    Raises:
        ValueError: If S is no multiple of 160.
    """
    strengths, onsets = onset_strength(samples, state.onsets)
    beats = []
    for strength in strengths:
        state = _heard(float(strength), state)
        beats.append(_told(state, float(strength)))
    return beats, replace(state, onsets=onsets)


def beat_times(beats: list[Beat], least_confidence: float = 0.5) -> Floats:
    """(N,) seconds of the beats as they were believed in when they came: where the phase turns."""
    times = []
    last = -np.inf
    for before, now in zip(beats, beats[1:], strict=False):
        turned = now.phase < before.phase - 0.5
        # a phase that is corrected back and forth over 0 is still one beat
        fresh = now.time_s - last > 0.5 * now.period_s
        if turned and fresh and now.confidence >= least_confidence:
            last = now.time_s - now.phase * now.period_s
            times.append(last)
    return np.asarray(times)


# -- the filter ----------------------------------------------------------------------------------

_GAIN = 1.8
"""How many independent onsets a frame's strength of 1 counts for."""
_MEAN_DECAY = float(np.exp(-FRAME_S / 3.0))
_LEAST_MEAN = 0.01
_BEGINS = 0.005 * FRAME_S
"""Probability, a frame, that a beat begins where there was none, ..."""
_ENDS = 0.04 * FRAME_S
"""... and that one ends."""
_TEMPO_CHANGE = 0.012
"""A beat is as long as the one before it, give or take this share."""
_TEMPO_LEAP = 0.002
"""Share of beats after which any tempo may follow: a wrong belief is left again."""
_PRIOR_BPM, _PRIOR_OCTAVES = 112.0, 0.55
_RATES = ((0.0, 0.022, 1.0), (0.5, 0.022, 0.30), (0.25, 0.02, 0.06), (0.75, 0.02, 0.06))
"""Humps of the onset rate over a beat: where, how wide in seconds, how high."""
_FLOOR_RATE = 0.10


def _heard(strength: float, state: BeatState) -> BeatState:
    """One frame on: every phase moves, the onset speaks for some of them."""
    mean = max(_MEAN_DECAY * state.mean_onset + (1 - _MEAN_DECAY) * strength, 0.0)
    lengths, tempi = _lengths(), np.arange(len(_lengths()))
    belief = np.empty_like(state.belief)
    belief[:, 1:] = state.belief[:, :-1]
    ended = state.belief[tempi, lengths - 1]
    belief[tempi[lengths < belief.shape[1]], lengths[lengths < belief.shape[1]]] = 0.0
    belief[:, 0] = _tempo_transitions() @ ended
    total = 1.0 - state.no_beat
    belief = (1 - _ENDS) * belief + _BEGINS * state.no_beat * _entry()
    no_beat = (1 - _BEGINS) * state.no_beat + _ENDS * total
    rates = _rates()
    evidence = _GAIN * (strength * _log_rates() - max(mean, _LEAST_MEAN) * (rates - 1.0))
    belief = belief * np.exp(evidence)
    whole = float(belief.sum()) + no_beat
    return BeatState(state.onsets, belief / whole, no_beat / whole, mean, state.frames + 1)


def _told(state: BeatState, onset: float) -> Beat:
    """The most probable tempo and, among tempi near it, the mean phase."""
    time_s = state.frames * FRAME_S - LATENCY_S
    share = state.belief.sum(axis=1)
    near = _near() @ share
    best = int(near.argmax())
    if near[best] < 1e-6:
        return replace(NO_BEAT, time_s=time_s, onset=onset)
    weights = _near()[best] * share
    period_s = float(weights @ _lengths() / weights.sum()) * FRAME_S
    turned = (_near()[best][:, None] * state.belief * _circle()).sum()
    phase = float(np.angle(turned) / (2 * np.pi)) % 1.0
    agreed = float(np.abs(turned) / weights.sum())
    # twice or half the tempo is the same music counted otherwise
    related = float(_related()[best] @ share / share.sum())
    confidence = (1.0 - state.no_beat) * agreed * related
    return Beat(time_s, phase, period_s, min(1.0, confidence), onset)


@cache
def _lengths() -> NDArray[np.int64]:
    """Beat lengths in frames, shortest first."""
    shortest = round(60.0 / FASTEST_BPM / FRAME_S)
    longest = round(60.0 / SLOWEST_BPM / FRAME_S)
    return np.arange(shortest, longest + 1)


@cache
def _phases() -> Floats:
    """(tempi, longest): phase in [0, 1) of each state, NaN where a beat is already over."""
    frame = np.arange(_lengths()[-1])
    phases = frame / _lengths()[:, None]
    return np.where(phases < 1.0, phases, np.nan)


@cache
def _rates() -> Floats:
    """(tempi, longest): rate of onsets, 1 on average over a beat; 1 where there is no state."""
    seconds = _lengths()[:, None] * FRAME_S
    rates = np.full(_phases().shape, _FLOOR_RATE)
    for centre, width_s, height in _RATES:
        away = (_phases() - centre + 0.5) % 1.0 - 0.5
        rates = rates + height * np.exp(-0.5 * (away * seconds / width_s) ** 2)
    rates = rates / np.nanmean(rates, axis=1, keepdims=True)
    return np.nan_to_num(rates, nan=1.0)


@cache
def _log_rates() -> Floats:
    return np.log(_rates())


@cache
def _circle() -> NDArray[np.complex128]:
    return np.exp(2j * np.pi * np.nan_to_num(_phases()))


@cache
def _entry() -> Floats:
    """Where a beat begins: any phase, tempi as the prior has them."""
    octaves = np.log2(60.0 / (_lengths() * FRAME_S) / _PRIOR_BPM)
    prior = np.exp(-0.5 * (octaves / _PRIOR_OCTAVES) ** 2)
    prior /= prior.sum()
    valid = ~np.isnan(_phases())
    return np.where(valid, (prior / _lengths())[:, None], 0.0)


@cache
def _tempo_transitions() -> Floats:
    """(to, from) probabilities of beat lengths."""
    lengths = _lengths()
    away = (lengths[:, None] - lengths[None]) / lengths[None]
    steady = np.exp(-0.5 * (away / _TEMPO_CHANGE) ** 2)
    steady /= steady.sum(axis=0, keepdims=True)
    prior = _entry().sum(axis=1)
    return (1 - _TEMPO_LEAP) * steady + _TEMPO_LEAP * prior[:, None]


@cache
def _near() -> Floats:
    """(tempi, tempi) 1 where two lengths differ by less than 5 percent."""
    return _within_5_percent(1.0)


@cache
def _related() -> Floats:
    """(tempi, tempi) 1 where two lengths, or one and twice the other, are near."""
    return np.maximum(_near(), np.maximum(_within_5_percent(2.0), _within_5_percent(0.5)))


def _within_5_percent(ratio: float) -> Floats:
    lengths = _lengths()
    return (np.abs(lengths[:, None] / lengths[None] / ratio - 1.0) < 0.05).astype(np.float64)
