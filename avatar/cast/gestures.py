"""Gestures: short curves that are added to the controls, a cue's by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from avatar.cast.motion import CONTROL_NAMES, MOTION_FPS
from avatar.cast.noise import Floats
from avatar.media import CueName

GestureName = CueName | Literal["raise", "beat"]
"""A cue, or what the sampler does by itself: brows up for a moment, the beat of a stressed word."""

Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """`offsets` is (F, 11): columns of the head in units of the sway, of the brow in its range.

    `hold` is (F,), 1 where the gaze's own course has to give way altogether.
    """

    offsets: Floats
    hold: Floats


def _ramp(peak: float, up: float, until: float, end: float) -> Knots:
    """From 0 to `peak` within `up`, held `until`, back at 0 at the `end`; seconds."""
    return (0.0, 0.0), (up, peak), (until, peak), (end, 0.0)


def _look(x: float, y: float) -> dict[str, Knots]:
    """The eyes jump, the head follows a little."""
    eyes = {"gaze_x": _ramp(x, 0.12, 1.04, 1.16), "gaze_y": _ramp(y, 0.12, 1.04, 1.16)}
    head = {"yaw": _ramp(0.9 * x, 0.4, 0.96, 1.4), "pitch": _ramp(-0.8 * y, 0.4, 0.96, 1.4)}
    return eyes | head


_KNOTS: dict[GestureName, dict[str, Knots]] = {
    "smile": {
        "smile": _ramp(0.5, 0.4, 1.9, 2.8),
        "brow": _ramp(0.2, 0.4, 1.2, 2.0),
        "roll": _ramp(0.25, 0.6, 1.6, 2.6),
    },
    "frown": {
        "smile": _ramp(-0.45, 0.4, 1.6, 2.4),
        "brow": _ramp(-1.2, 0.32, 1.6, 2.2),
        "pitch": _ramp(-0.4, 0.5, 1.5, 2.2),
    },
    "surprised": {
        "brow": _ramp(1.5, 0.2, 1.0, 1.8),
        "pitch": _ramp(0.7, 0.28, 0.9, 1.7),
        "ty": _ramp(-0.6, 0.28, 0.9, 1.7),
        "smile": _ramp(-0.12, 0.2, 0.8, 1.6),
    },
    "nod": {
        "pitch": ((0.0, 0.0), (0.24, -1.4), (0.48, 0.2), (0.72, -0.8), (0.92, 0.1), (1.12, 0.0)),
        "ty": ((0.0, 0.0), (0.24, 0.5), (0.48, 0.0), (0.72, 0.3), (0.92, 0.0)),
    },
    "shake": {
        "yaw": ((0.0, 0.0), (0.24, -1.0), (0.56, 1.0), (0.88, -0.8), (1.2, 0.4), (1.48, 0.0)),
    },
    "tilt": {"roll": _ramp(1.3, 0.44, 1.5, 2.2), "tx": _ramp(0.4, 0.44, 1.5, 2.2)},
    "bow": {
        "pitch": _ramp(-2.2, 0.6, 1.0, 1.8),
        "ty": _ramp(1.2, 0.6, 1.0, 1.8),
        "blink": _ramp(0.7, 0.4, 0.9, 1.4),
    },
    "blink": {"blink": _ramp(1.0, 0.16, 0.28, 0.52)},
    "look_left": _look(-0.85, 0.0),
    "look_right": _look(0.85, 0.0),
    "look_up": _look(0.0, -0.8),
    "look_down": _look(0.0, 0.8),
    "raise": {"brow": _ramp(0.8, 0.2, 0.36, 0.8)},
    "beat": {
        "pitch": ((0.0, 0.0), (0.2, -0.7), (0.4, 0.15), (0.64, 0.0)),
        "brow": _ramp(0.7, 0.2, 0.32, 0.64),
    },
}


def _drawn(knots: Mapping[str, Knots]) -> Curve:
    """At frames 1, 2, ... after the beginning, smooth from knot to knot."""
    num_frames = round(MOTION_FPS * max(course[-1][0] for course in knots.values()))
    at = np.arange(1, num_frames + 1) / MOTION_FPS
    offsets = np.zeros((num_frames, len(CONTROL_NAMES)))
    for name, course in knots.items():
        offsets[:, CONTROL_NAMES.index(name)] = _smooth(at, course)
    hold = np.zeros(num_frames)
    for name in ("gaze_x", "gaze_y"):
        own = np.abs(offsets[:, CONTROL_NAMES.index(name)])
        hold = np.maximum(hold, own / max(own.max(), 1e-9))
    return Curve(offsets, hold)


def _smooth(at: Floats, course: Knots) -> Floats:
    """Through all knots, at rest in each; 0 after the last one."""
    values = np.zeros(len(at))
    for (start, before), (end, after) in zip(course, course[1:], strict=False):
        x = np.clip((at - start) / (end - start), 0.0, 1.0)
        within = (at > start) & (at <= end)
        values[within] = (before + (after - before) * x * x * (3.0 - 2.0 * x))[within]
    return values


GESTURES: Mapping[GestureName, Curve] = MappingProxyType(
    {name: _drawn(knots) for name, knots in _KNOTS.items()}
)
