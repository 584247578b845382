"""The controls of a face in a conversation: behaviours and cues in, head, eyes and brows out.

A streaming layer: `step` takes a state and gives the next one, so whole and chunked are the same
exactly, the past knows nothing of the future, and sessions know nothing of one another. Everything
random is a hash of the session's seed and a counter in the state.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import Temperament
from avatar.cast.gaze import Gaze, Point, next_gaze, startled
from avatar.cast.gestures import GESTURES, GestureName
from avatar.cast.manners import MANNERS, Posture
from avatar.cast.motion import BLINK_SHAPE, CONTROL_NAMES, HEAD, MOTION_FPS, in_range
from avatar.cast.noise import Floats, interval, two_octaves, unit, value_noise
from avatar.media import BEHAVIOURS, Behaviour, CueName

FRAMES_PER_MINUTE = 60 * MOTION_FPS
BREATHS_PER_MINUTE = 14.0

_YIELD = 0.18
"""Share of the way to a new posture in a frame, taken twice: most of it within a second."""
_FOLLOW = 0.12
"""Likewise, how soon the head follows the eyes."""
COUNTER_TURN = 0.6
"""Of the gaze against the head's turns: the eyes stay at what they look at."""

_POSTURES = np.array([astuple(MANNERS[behaviour].posture) for behaviour in BEHAVIOURS])
_PLACES = {each.name: place for place, each in enumerate(fields(Posture))}
_HEAD_COLUMNS = [CONTROL_NAMES.index(name) for name in HEAD]
_BROW = CONTROL_NAMES.index("brow")
_GAZE = slice(CONTROL_NAMES.index("gaze_x"), CONTROL_NAMES.index("gaze_y") + 1)

Mixture = tuple[float, float, float, float]


@dataclass(frozen=True)
class Gesture:
    """One that goes on: `age` frames of it are over."""

    name: GestureName
    strength: float = 1.0
    age: int = 0


@dataclass(frozen=True)
class Recurring:
    """Something that happens again and again: the `number`th is due when `waited` reaches `due`.

    `age` is that of the last one, in frames.
    """

    due: float
    number: int = 0
    waited: float = 0.0
    age: int = 1 << 30


@dataclass(frozen=True)
class MotionState:
    """The past of a face's movements.

    `mixture` says how much of each of `BEHAVIOURS` is in the posture; it follows `yielding`, and
    that the behaviour. `sway_at` and `breath_at` are the places on the noise and in the breath.
    """

    seed: int
    temperament: Temperament
    blinks: Recurring
    moves: Recurring
    behaviour: Behaviour = "idle"
    episode: int = 0
    frame: int = 0
    yielding: Mixture = (1.0, 0.0, 0.0, 0.0)
    mixture: Mixture = (1.0, 0.0, 0.0, 0.0)
    sway_at: float = 0.0
    breath_at: float = 0.0
    gaze: Gaze = field(default_factory=Gaze)
    follow: Point = (0.0, 0.0)
    gestures: tuple[Gesture, ...] = ()


@dataclass(frozen=True)
class _Course:
    """What is found frame by frame, as arrays of F frames."""

    frame: NDArray[np.int64]
    mixture: Floats
    sway_at: Floats
    breath_at: Floats
    gaze: Floats
    follow: Floats
    closure: Floats
    offsets: Floats
    hold: Floats


def init_state(seed: int, temperament: Temperament) -> MotionState:
    """A face that idles and looks at the viewer."""
    blinks = Recurring(interval(seed, "blink", 0), waited=0.5 * unit(seed, "blink/first", 0))
    return MotionState(seed, temperament, blinks, Recurring(interval(seed, "moves", 0)))


def step(
    state: MotionState, behaviour: Behaviour, cues: Sequence[CueName], num_frames: int
) -> tuple[NDArray[np.float32], MotionState]:
    """The next frames at 25 fps; `cues` begin with the first of them.

    Returns:
        (num_frames, 11) float32, columns as in `CONTROL_NAMES`, and the state after them.

    Raises:
        ValueError: If `num_frames` is negative.
    """
    if num_frames < 0:
        raise ValueError(f"{num_frames} frames asked for, at least 0 expected")
    state = _told(state, behaviour, cues)
    passed, closure, offsets, hold = [], [], [], []
    for _ in range(num_frames):
        state = _next(state)
        passed.append(state)
        added, held = _gestures_now(state)
        closure.append(_closure(state.blinks))
        offsets.append(added)
        hold.append(held)
    if not passed:
        return np.zeros((0, len(CONTROL_NAMES)), np.float32), state
    course = _Course(
        np.array([each.frame for each in passed]),
        np.array([each.mixture for each in passed]),
        np.array([each.sway_at for each in passed]),
        np.array([each.breath_at for each in passed]),
        np.array([each.gaze.point for each in passed]),
        np.array([each.follow for each in passed]),
        np.array(closure),
        np.stack(offsets),
        np.array(hold),
    )
    return in_range(_controls(state.seed, state.temperament, course)), state


def _told(state: MotionState, behaviour: Behaviour, cues: Sequence[CueName]) -> MotionState:
    if behaviour != state.behaviour:
        gaze = startled(state.gaze, state.seed)
        state = replace(state, behaviour=behaviour, episode=state.episode + 1, gaze=gaze)
    return replace(state, gestures=(*state.gestures, *map(Gesture, cues)))


def _next(state: MotionState) -> MotionState:
    """One frame later."""
    manner = MANNERS[state.behaviour]
    wanted = [float(behaviour == state.behaviour) for behaviour in BEHAVIOURS]
    yielding = _towards(state.yielding, wanted)
    mixture = _towards(state.mixture, yielding)
    pace, breaths = (_mixed(mixture, _PLACES[name]) for name in ("pace", "breaths"))
    gaze = next_gaze(state.gaze, manner.glances, state.seed, state.episode)
    x, y = state.follow
    follow = x + _FOLLOW * (gaze.target[0] - x), y + _FOLLOW * (gaze.target[1] - y)
    blinks_per_minute = manner.blinks * state.temperament.blinks_per_minute
    moves_per_minute = sum(often for often, _ in manner.gestures.values())
    moves = _recurred(state.moves, moves_per_minute, state.seed, "moves")
    return replace(
        state,
        frame=state.frame + 1,
        yielding=yielding,
        mixture=mixture,
        sway_at=state.sway_at + pace,
        breath_at=state.breath_at + breaths * BREATHS_PER_MINUTE / FRAMES_PER_MINUTE,
        gaze=gaze,
        follow=follow,
        blinks=_recurred(state.blinks, blinks_per_minute, state.seed, "blink"),
        moves=moves,
        gestures=_next_gestures(state, moves),
    )


def _towards(mixture: Mixture, wanted: Sequence[float]) -> Mixture:
    idle, listening, thinking, speaking = (
        have + _YIELD * (want - have) for have, want in zip(mixture, wanted, strict=True)
    )
    return idle, listening, thinking, speaking


def _mixed(mixture: Mixture, place: int) -> float:
    return sum(
        share * float(posture[place]) for share, posture in zip(mixture, _POSTURES, strict=True)
    )


def _recurred(past: Recurring, per_minute: float, seed: int, name: str) -> Recurring:
    waited = past.waited + per_minute / FRAMES_PER_MINUTE
    if waited < past.due:
        return replace(past, waited=waited, age=past.age + 1)
    number = past.number + 1
    return Recurring(interval(seed, name, number), number, waited - past.due, age=0)


def _next_gestures(state: MotionState, moves: Recurring) -> tuple[Gesture, ...]:
    """Those that go on, one frame older, and one that the face begins by itself."""
    going_on = tuple(
        replace(each, age=each.age + 1)
        for each in state.gestures
        if each.age < len(GESTURES[each.name].hold)
    )
    if moves.age > 0:
        return going_on
    return (*going_on, replace(_own_gesture(state, moves.number), age=1))


def _own_gesture(state: MotionState, number: int) -> Gesture:
    gestures = MANNERS[state.behaviour].gestures
    drawn = unit(state.seed, "moves/which", number) * sum(often for often, _ in gestures.values())
    strength = 0.7 + 0.6 * unit(state.seed, "moves/strength", number)
    edges = list(accumulate(often for often, _ in gestures.values()))
    name, (_, usual) = list(gestures.items())[bisect(edges, drawn)]
    mirrored = name == "tilt" and unit(state.seed, "moves/side", number) < 0.5
    return Gesture(name, -strength * usual if mirrored else strength * usual)


def _gestures_now(state: MotionState) -> tuple[Floats, float]:
    """(11,) offsets of all gestures of this frame, and how much of the gaze they hold."""
    offsets, hold = np.zeros(len(CONTROL_NAMES)), 0.0
    for gesture in state.gestures:
        curve = GESTURES[gesture.name]
        if 0 < gesture.age <= len(curve.hold):
            offsets += gesture.strength * curve.offsets[gesture.age - 1]
            hold = max(hold, float(curve.hold[gesture.age - 1]))
    return offsets, hold


def _closure(blinks: Recurring) -> float:
    return BLINK_SHAPE[blinks.age] if blinks.age < len(BLINK_SHAPE) else 0.0


def _controls(seed: int, temperament: Temperament, course: _Course) -> Floats:
    """(F, 11), not clipped yet."""
    # term by term: a matrix product may round differently for another number of frames
    postures = sum(
        course.mixture[:, which, None] * posture for which, posture in enumerate(_POSTURES)
    )
    assert isinstance(postures, np.ndarray)
    held = {name: postures[:, place] for name, place in _PLACES.items()}

    def wander(name: str, slow: float, fast: float) -> Floats:
        return two_octaves(seed, name, course.sway_at, slow=slow, fast=fast)

    offsets, sway = course.offsets.copy(), held["sway"]
    offsets[:, _HEAD_COLUMNS] *= temperament.sway
    offsets[:, _BROW] *= temperament.brow_range
    head = {
        "yaw": 0.85 * sway * wander("yaw", 52, 19) + 0.7 * course.follow[:, 0],
        "pitch": 0.7 * sway * wander("pitch", 44, 17) + held["pitch"] - 0.5 * course.follow[:, 1],
        "roll": 0.75 * sway * wander("roll", 61, 27) + held["roll"] * wander("lean", 211, 97),
        "tx": 0.7 * sway * wander("tx", 71, 29),
        "ty": 0.7 * sway * wander("ty", 58, 31) + held["ty"],
    }
    brow = held["brow"] + held["brow_sway"] * wander("brow", 37, 15)
    depth = 0.8 + 0.2 * value_noise(seed, "breath/depth", course.frame, 173)
    turns = course.breath_at + 0.14 * value_noise(seed, "breath/time", course.frame, 211)
    own_gaze = course.gaze * (1.0 - course.hold)[:, None]
    curves = {name: temperament.sway * curve for name, curve in head.items()} | {
        "blink": course.closure,
        "brow": temperament.brow_range * brow,
        "gaze_x": own_gaze[:, 0],
        "gaze_y": own_gaze[:, 1],
        "smile": temperament.smile
        + held["smile"]
        + 0.25 * value_noise(seed, "smile", course.frame, 67),
        "breath": depth * np.sin(2.0 * np.pi * turns),
    }
    table = np.stack([curves[name] for name in CONTROL_NAMES], axis=1) + offsets
    yaw, pitch = table[:, CONTROL_NAMES.index("yaw")], table[:, CONTROL_NAMES.index("pitch")]
    table[:, _GAZE] += COUNTER_TURN * np.stack([-yaw, pitch], axis=1)
    return table
