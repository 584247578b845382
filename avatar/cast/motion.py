"""What a face does besides speaking: head pose, blinks, brows, gaze and smile, frame by frame.

Every value is a pure function of (seed, frame index), so any part of the endless stream can be
made alone and equals the same part of the whole exactly.
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
)
"""All in [-1, 1]; blink (1 = shut) and smile in [0, 1]."""

CONTROL_DIM = len(CONTROL_NAMES)

BLINK_SHAPE = (0.4, 0.95, 1.0, 0.8, 0.4, 0.12)
"""Lid closure over the six frames of a blink."""

_SACCADE_FRAMES = 3
_GAZE_CELL = 38
_BREATH_FRAMES = 107.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def rest_controls(temperament: Temperament) -> NDArray[np.float32]:
    """(10,) controls of the still reference portrait: facing the viewer, smiling a little."""
    controls_at_rest = np.zeros(CONTROL_DIM, np.float32)
    controls_at_rest[CONTROL_NAMES.index("smile")] = temperament.smile
    return controls_at_rest


def controls(
    seed: int, start_frame: int, num_frames: int, temperament: Temperament
) -> NDArray[np.float32]:
    """Control curves of frames [start_frame, start_frame + num_frames) at 25 fps.

    Returns:
        (num_frames, 10) float32, columns as in `CONTROL_NAMES`.

    Raises:
        ValueError: If `start_frame` or `num_frames` is negative.
    """
    if start_frame < 0 or num_frames < 0:
        raise ValueError(f"frames [{start_frame}, +{num_frames}): both must be at least 0")
    frames = np.arange(start_frame, start_frame + num_frames, dtype=np.int64)
    sway = temperament.sway
    yaw = sway * _mix(seed, "yaw", frames, slow=52, fast=19)
    pitch = sway * _mix(seed, "pitch", frames, slow=44, fast=17)
    curves = {
        "yaw": 0.85 * yaw,
        "pitch": 0.7 * pitch,
        "roll": 0.75 * sway * _mix(seed, "roll", frames, slow=61, fast=27),
        "tx": 0.7 * sway * _mix(seed, "tx", frames, slow=71, fast=29),
        "ty": 0.7 * sway * _mix(seed, "ty", frames, slow=58, fast=31),
        "blink": _blinks(seed, frames, temperament.blinks_per_minute),
        "brow": temperament.brow_range * _mix(seed, "brow", frames, slow=37, fast=15),
        # The eyes stay near the viewer while the head sways.
        "gaze_x": _saccades(seed, "gaze_x", frames) - 0.3 * yaw,
        "gaze_y": 0.6 * _saccades(seed, "gaze_y", frames) - 0.2 * pitch,
        "smile": temperament.smile + 0.3 * _value_noise(seed, "smile", frames, 67),
    }
    table = np.stack([curves[name] for name in CONTROL_NAMES], axis=1)
    lowest = np.array([0.0 if name in ("blink", "smile") else -1.0 for name in CONTROL_NAMES])
    return np.clip(table, lowest, 1.0).astype(np.float32)


def breath(seed: int, start_frame: int, num_frames: int) -> NDArray[np.float32]:
    """Lift of the shoulders (num_frames,) in [-1, 1], about 14 breaths a minute, none quite alike.

    Not one of `CONTROL_NAMES`: the shipped weights were trained without it.

    Raises:
        ValueError: If `start_frame` or `num_frames` is negative.
    """
    if start_frame < 0 or num_frames < 0:
        raise ValueError(f"frames [{start_frame}, +{num_frames}): both must be at least 0")
    frames = np.arange(start_frame, start_frame + num_frames, dtype=np.int64)
    wander = 0.9 * _value_noise(seed, "breath/time", frames, 211)
    depth = 0.8 + 0.2 * _value_noise(seed, "breath/depth", frames, 173)
    return (depth * np.sin(2 * np.pi * frames / _BREATH_FRAMES + wander)).astype(np.float32)


def _mix(seed: int, name: str, frames: Ints, *, slow: int, fast: int) -> Floats:
    """Two octaves of value noise, within [-1, 1]; `slow` and `fast` are knot distances."""
    drift = _value_noise(seed, name + "/slow", frames, slow)
    detail = _value_noise(seed, name + "/fast", frames, fast)
    return 0.8 * drift + 0.2 * detail


def _value_noise(seed: int, name: str, frames: Ints, knot_frames: int) -> Floats:
    """Smooth noise in [-1, 1] through one hashed value every `knot_frames` frames."""
    knots, offset = np.divmod(frames, knot_frames)
    x = offset / knot_frames
    weight = x * x * x * (x * (x * 6.0 - 15.0) + 10.0)
    here, there = _signed(seed, name, knots), _signed(seed, name, knots + 1)
    return here + (there - here) * weight


def _blinks(seed: int, frames: Ints, blinks_per_minute: float) -> Floats:
    """One blink in each time cell, its start jittered by up to a fifth of the cell either way."""
    cell_frames = max(24, round(MOTION_FPS * 60.0 / blinks_per_minute))
    shape = np.array(BLINK_SHAPE)
    closure = np.zeros(len(frames))
    cells = frames // cell_frames
    for cell in (cells - 1, cells):  # a blink may begin in one cell and end in the next
        jitter = 0.5 + 0.2 * _signed(seed, "blink", cell)
        start = cell * cell_frames + np.floor(jitter * cell_frames).astype(np.int64)
        step = frames - start
        within = (step >= 0) & (step < len(shape))
        closure = np.maximum(closure, np.where(within, shape[np.where(within, step, 0)], 0.0))
    return closure


def _saccades(seed: int, name: str, frames: Ints) -> Floats:
    """Gaze that rests on small targets and jumps between them within three frames."""
    cell = frames // _GAZE_CELL
    jump = np.floor(_unit(seed, name + "/jump", cell) * (_GAZE_CELL - _SACCADE_FRAMES))
    progress = np.clip((frames - cell * _GAZE_CELL - jump) / _SACCADE_FRAMES, 0.0, 1.0)
    before, after = (_signed(seed, name, index) for index in (cell - 1, cell))
    # The cube keeps most targets close to the viewer.
    before, after = 0.75 * before * before * before, 0.75 * after * after * after
    return before + (after - before) * progress


def _signed(seed: int, name: str, index: Ints) -> Floats:
    return 2.0 * _unit(seed, name, index) - 1.0


def _unit(seed: int, name: str, index: Ints) -> Floats:
    """Hash of (seed, name, index) as a float in [0, 1); integer arithmetic only (splitmix64)."""
    key = seed & 0xFFFFFFFFFFFFFFFF
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / float(1 << 53)
