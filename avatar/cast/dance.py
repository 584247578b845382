"""How a head moves to music: nods and sway in time with the beat, as changes of the control curves.

Beats come from a causal tracker, yet a nod cannot begin when its beat is heard: it would be late by
its own length. So the head follows the phase of the beat, which says when the next one will be.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avatar.audio.beats import NO_BEAT, Beat, BeatState, init_beats, track_beats
from avatar.cast.characters import Temperament
from avatar.cast.motion import CONTROL_NAMES, HEAD, MOTION_FPS

Floats = NDArray[np.float64]

REACH = {"yaw": 0.85, "pitch": 0.7, "roll": 0.75, "tx": 0.7, "ty": 0.7, "brow": 1.0}
"""The largest values that `avatar.cast.motion` gives, as factors of sway (brow: of its range)."""

_FRAME_S = 1.0 / MOTION_FPS
_FAST_BPM = (124.0, 138.0)
"""Music faster than the second is nodded on every other beat, until it is slower than the first."""
_PHASE_GAIN = 0.12
_LARGEST_STEP = 0.25
"""The head may run this share faster or slower than the music to catch up with it."""
_RISE_S, _FALL_S = 0.8, 0.6
_LEAST_CONFIDENCE, _FULL_CONFIDENCE = 0.45, 0.8


@dataclass(frozen=True)
class DanceState:
    """`turns` counts nods, as danced so far; `weight` is how much the head dances, 0 to 1.

    `beat` is what was known last, `nods_a_beat` 1 or 0.5, `accent` the strong onsets of late.
    """

    tracker: BeatState
    beat: Beat
    frame: int
    turns: float
    nods_a_beat: float
    weight: float
    accent: float


@dataclass(frozen=True)
class Moves:
    """`added` is (T, 11), for the controls; `weights` (T,) how much of it is dance, 0 to 1."""

    added: NDArray[np.float32]
    weights: NDArray[np.float32]


def init_dance() -> DanceState:
    return DanceState(init_beats(), NO_BEAT, 0, 0.0, 1.0, 0.0, 0.0)


def dance(
    samples: NDArray[np.float32],
    lookahead: NDArray[np.float32],
    num_frames: int,
    temperament: Temperament,
    state: DanceState,
) -> tuple[Moves, DanceState]:
    """Movements to the next samples of music.

    Args:
        samples: (S,) float32 at 16 kHz of the next `num_frames` frames, whole hops of 10 ms.
        lookahead: What is known after them, (0..) float32: heard, but not moved to yet.
        num_frames: At 25 frames a second.
        temperament: `sway` and `brow_range` scale all of it.
        state: From `init_dance` or the call before.

    Raises:
        ValueError: If S is no multiple of 160.
    """
    heard, tracker = track_beats(samples, state.tracker)
    hops = len(lookahead) // 160 * 160
    ahead, _ = track_beats(lookahead[:hops], tracker)
    known = [*heard, *ahead]
    added = np.zeros((num_frames, len(CONTROL_NAMES)), np.float32)
    weights = np.zeros(num_frames, np.float32)
    beat = known[-1] if known else state.beat
    strengths = _frame_maxima([each.onset for each in heard], num_frames)
    for i in range(num_frames):
        state = _moved(replace(state, beat=beat), float(strengths[i]))
        weights[i] = state.weight
        for name, value in _pose(state, temperament).items():
            added[i, CONTROL_NAMES.index(name)] = value
    return Moves(added, weights), replace(state, tracker=tracker)


def danced(
    controls: NDArray[np.float32], moves: Moves, temperament: Temperament
) -> NDArray[np.float32]:
    """Control curves (T, 11) with the dance in them, within the range that models were trained on.

    The head's own wandering gives way to the music; blinks, gaze and smile stay.
    """
    mixed = controls.astype(np.float32, copy=True)
    for name, reach in REACH.items():
        column = CONTROL_NAMES.index(name)
        most = reach * (temperament.brow_range if name == "brow" else temperament.sway)
        kept = 1.0 - _GIVES_WAY * moves.weights if name in HEAD else 1.0
        # a cue may reach further than the head's wandering does
        bound = np.maximum(most, np.abs(mixed[:, column]))
        mixed[:, column] = np.clip(mixed[:, column] * kept + moves.added[:, column], -bound, bound)
    return mixed


_GIVES_WAY = 0.75


def _moved(state: DanceState, strength: float) -> DanceState:
    """One frame on: the head's own nods run at the music's tempo and are drawn to its phase."""
    time_s = (state.frame + 0.5) * _FRAME_S
    beat, slow, fast = state.beat, *_FAST_BPM
    nods_a_beat = 0.5 if beat.bpm > fast else 1.0 if beat.bpm < slow else state.nods_a_beat
    step = nods_a_beat * _FRAME_S / beat.period_s
    # to where the music is, in nods; with one nod in two beats either of them will do
    behind = nods_a_beat * beat.phase_at(time_s) - (state.turns + step)
    behind = (behind + 0.5 * nods_a_beat) % nods_a_beat - 0.5 * nods_a_beat
    most = _LARGEST_STEP * step
    # while nobody sees it, at once
    pull = behind if state.weight < 0.05 else min(most, max(-most, _PHASE_GAIN * behind))
    wanted = (beat.confidence - _LEAST_CONFIDENCE) / (_FULL_CONFIDENCE - _LEAST_CONFIDENCE)
    wanted = min(1.0, max(0.0, wanted))
    pace = _FRAME_S / (_RISE_S if wanted > state.weight else _FALL_S)
    return replace(
        state,
        frame=state.frame + 1,
        turns=state.turns + step + pull,
        nods_a_beat=nods_a_beat,
        weight=state.weight + min(pace, max(-pace, wanted - state.weight)),
        accent=max(_ACCENT_DECAY * state.accent, strength if strength > _LEAST_ACCENT else 0.0),
    )


_ACCENT_DECAY, _LEAST_ACCENT = 0.85, 0.5


def _pose(state: DanceState, temperament: Temperament) -> dict[str, float]:
    """What the dance adds just now: all its turning points lie on beats.

    A nod has two, chin down on the beat and up between; a sway that crosses the middle just then,
    and is the larger, keeps the head moving there. The shoulders follow the shifts.
    """
    weight = _smooth(state.weight)
    nod = np.cos(2 * np.pi * state.turns)  # 1 on the beat: the chin is down
    side = np.cos(np.pi * state.turns)
    wander = np.sin(2 * np.pi * state.turns / 16)  # no two bars are alike
    lively = weight * temperament.sway * (0.85 + 0.15 * min(1.0, state.accent))
    return {
        "pitch": float(-0.26 * lively * nod),
        "ty": float(0.22 * lively * nod),
        "roll": float(lively * (0.52 + 0.08 * wander) * side),
        "tx": float(0.60 * lively * side),
        "yaw": float(lively * (0.16 * side + 0.30 * wander)),
        "brow": float(0.25 * weight * temperament.brow_range * state.accent),
    }


def _smooth(weight: float) -> float:
    return weight * weight * (3.0 - 2.0 * weight)


def _frame_maxima(strengths: list[float], num_frames: int) -> Floats:
    """(num_frames,) the strongest onset of each video frame; four hops make one."""
    if not strengths:
        return np.zeros(num_frames)
    padded = np.zeros(max(len(strengths), 4 * num_frames))
    padded[: len(strengths)] = strengths
    return padded[: 4 * num_frames].reshape(num_frames, 4).max(axis=1)
