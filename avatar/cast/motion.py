"""The controls of a face besides its mouth, and a calm course of them that knows no conversation.

Every value of that course is a pure function of (seed, frame index), so any part of the endless
stream can be made alone and equals the same part of the whole exactly. What a conversation does to
a face is in `avatar.cast.sampler`.
"""

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import Temperament
from avatar.cast.noise import Floats, Ints, signed, two_octaves, units, value_noise

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

BLINK_SHAPE = (0.4, 0.95, 1.0, 0.8, 0.4, 0.12)
"""Lid closure over the six frames of a blink."""

SACCADE_FRAMES = 3
_GAZE_CELL = 38
_BREATH_FRAMES = 107.0
_LOWEST = np.array([0.0 if name in ("blink", "smile") else -1.0 for name in CONTROL_NAMES])


def rest_controls(temperament: Temperament) -> NDArray[np.float32]:
    """(11,) controls of the still reference portrait: facing the viewer, smiling a little."""
    controls_at_rest = np.zeros(CONTROL_DIM, np.float32)
    controls_at_rest[CONTROL_NAMES.index("smile")] = temperament.smile
    return controls_at_rest


def controls(
    seed: int, start_frame: int, num_frames: int, temperament: Temperament
) -> NDArray[np.float32]:
    """Control curves of frames [start_frame, start_frame + num_frames) at 25 fps.

    Returns:
        (num_frames, 10) float32, columns as in `CONTROL_NAMES`, without breath.

    Raises:
        ValueError: If `start_frame` or `num_frames` is negative.
    """
    if start_frame < 0 or num_frames < 0:
        raise ValueError(f"frames [{start_frame}, +{num_frames}): both must be at least 0")
    frames = np.arange(start_frame, start_frame + num_frames, dtype=np.int64)
    sway = temperament.sway
    yaw = sway * two_octaves(seed, "yaw", frames, slow=52, fast=19)
    pitch = sway * two_octaves(seed, "pitch", frames, slow=44, fast=17)
    curves = {
        "yaw": 0.85 * yaw,
        "pitch": 0.7 * pitch,
        "roll": 0.75 * sway * two_octaves(seed, "roll", frames, slow=61, fast=27),
        "tx": 0.7 * sway * two_octaves(seed, "tx", frames, slow=71, fast=29),
        "ty": 0.7 * sway * two_octaves(seed, "ty", frames, slow=58, fast=31),
        "blink": _blinks(seed, frames, temperament.blinks_per_minute),
        "brow": temperament.brow_range * two_octaves(seed, "brow", frames, slow=37, fast=15),
        # The eyes stay near the viewer while the head sways.
        "gaze_x": _saccades(seed, "gaze_x", frames) - 0.3 * yaw,
        "gaze_y": 0.6 * _saccades(seed, "gaze_y", frames) - 0.2 * pitch,
        "smile": temperament.smile + 0.3 * value_noise(seed, "smile", frames, 67),
    }
    return in_range(np.stack(list(curves.values()), axis=1))


def in_range(controls: Floats) -> NDArray[np.float32]:
    """(F, N) controls, the first N of `CONTROL_NAMES`, clipped to what they may be."""
    return np.clip(controls, _LOWEST[: controls.shape[1]], 1.0).astype(np.float32)


def breath(seed: int, start_frame: int, num_frames: int) -> NDArray[np.float32]:
    """Lift of the shoulders (num_frames,) in [-1, 1], about 14 breaths a minute, none quite alike.

    Raises:
        ValueError: If `start_frame` or `num_frames` is negative.
    """
    if start_frame < 0 or num_frames < 0:
        raise ValueError(f"frames [{start_frame}, +{num_frames}): both must be at least 0")
    frames = np.arange(start_frame, start_frame + num_frames, dtype=np.int64)
    wander = 0.9 * value_noise(seed, "breath/time", frames, 211)
    depth = 0.8 + 0.2 * value_noise(seed, "breath/depth", frames, 173)
    return (depth * np.sin(2 * np.pi * frames / _BREATH_FRAMES + wander)).astype(np.float32)


def _blinks(seed: int, frames: Ints, blinks_per_minute: float) -> Floats:
    """One blink in each time cell, its start jittered by up to a fifth of the cell either way."""
    cell_frames = max(24, round(MOTION_FPS * 60.0 / blinks_per_minute))
    shape = np.array(BLINK_SHAPE)
    closure = np.zeros(len(frames))
    cells = frames // cell_frames
    for cell in (cells - 1, cells):  # a blink may begin in one cell and end in the next
        jitter = 0.5 + 0.2 * signed(seed, "blink", cell)
        start = cell * cell_frames + np.floor(jitter * cell_frames).astype(np.int64)
        step = frames - start
        within = (step >= 0) & (step < len(shape))
        closure = np.maximum(closure, np.where(within, shape[np.where(within, step, 0)], 0.0))
    return closure


def _saccades(seed: int, name: str, frames: Ints) -> Floats:
    """Gaze that rests on small targets and jumps between them within three frames."""
    cell = frames // _GAZE_CELL
    jump = np.floor(units(seed, name + "/jump", cell) * (_GAZE_CELL - SACCADE_FRAMES))
    progress = np.clip((frames - cell * _GAZE_CELL - jump) / SACCADE_FRAMES, 0.0, 1.0)
    before, after = (signed(seed, name, index) for index in (cell - 1, cell))
    # The cube keeps most targets close to the viewer.
    before, after = 0.75 * before * before * before, 0.75 * after * after * after
    return before + (after - before) * progress
