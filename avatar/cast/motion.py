"""The controls of a face besides its mouth: their names, range and rest.

What a conversation makes of them is in `avatar.cast.sampler`.
"""

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import Temperament

MOTION_FPS = 25

CONTROL_NAMES = (
    "yaw",
    "pitch",
    "roll",
    "tx",
    "ty",
    "blink",
    "brow",
    "gaze_x",
    "gaze_y",
    "smile",
    "breath",
)
"""All in [-1, 1]; blink (1 = shut) and smile in [0, 1].

Yaw, shift and gaze 1 are to the picture's right, roll clockwise, pitch up, `ty` and `gaze_y` down,
breath 1 is shoulders lifted. A model takes as many of them, from the first on, as it was trained
with: older weights know no breath.
"""

CONTROL_DIM = len(CONTROL_NAMES)
HEAD = ("yaw", "pitch", "roll", "tx", "ty")

BLINK_SHAPE = (0.4, 0.95, 1.0, 0.8, 0.4, 0.12)
"""Lid closure over the six frames of a blink."""

SACCADE_FRAMES = 3
_LOWEST = np.array([0.0 if name in ("blink", "smile") else -1.0 for name in CONTROL_NAMES])


def rest_controls(temperament: Temperament) -> NDArray[np.float32]:
    """(11,) controls of the still reference portrait: facing the viewer, smiling a little."""
    controls_at_rest = np.zeros(CONTROL_DIM, np.float32)
    controls_at_rest[CONTROL_NAMES.index("smile")] = temperament.smile
    return controls_at_rest


def further(controls: NDArray[np.floating], head_gain: float) -> NDArray[np.float32]:
    """(F, N) controls whose head turns and shifts `head_gain` times as far."""
    gains = np.where(np.isin(CONTROL_NAMES[: controls.shape[1]], HEAD), head_gain, 1.0)
    return in_range(controls * gains)


def in_range(controls: NDArray[np.floating]) -> NDArray[np.float32]:
    """(F, N) controls, the first N of `CONTROL_NAMES`, clipped to what they may be."""
    return np.clip(controls, _LOWEST[: controls.shape[1]], 1.0).astype(np.float32)
