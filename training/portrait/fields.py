"""How the skin away from eyes and lips moves: jaw, cheeks and brows."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import Movement, Pose
from training.portrait.shape import HeadShape

Floats = NDArray[np.float64]


def amounts(jaw_drop: float, pose: Pose, movement: Movement) -> Floats:
    """(fields,) how much of each field is shown."""
    return np.array(
        [
            jaw_drop,
            pose.smile + 0.25 * max(pose.wide, 0.0),
            pose.smile + 0.35 * max(pose.wide, 0.0),
            max(movement.brow, 0.0),
            max(-movement.brow, 0.0),
            pose.round,
        ]
    )


def displacements(rest: Floats, head: HeadShape) -> Floats:
    """(6, V, 3): movement of points at rest (V, 3) by jaw, smile, fold, brow up, down and purse."""
    x, y, z = rest.T
    side, ax = np.sign(x), np.abs(x)
    front = _step(1.0, 4.0, z)
    jaw_weight = _step(-2.2, head.mouth_y - 1.3, y) * _step(-3.5, 2.5, z)
    # One unit down at the chin, turning about the joints before the ears.
    arm = np.hypot(head.chin_y + 2.0, head.chin_z + 0.5)
    jaw = np.stack([0 * x, -(z + 0.5), y + 2.0], 1) / arm * jaw_weight[:, None]
    cheek = np.exp(-(((ax - 4.0) / 1.9) ** 2) - ((y + 3.3) / 1.7) ** 2) * front
    smile = cheek[:, None] * np.stack([0.22 * side, 0.62 + 0 * x, 0.42 + 0 * x], 1)
    fold = -0.20 * _fold_line(ax, y, head.mouth_y) * front
    folded = fold[:, None] * np.array([0.0, 0.0, 1.0])
    lift = np.exp(-(((y - 3.0) / 1.5) ** 2)) * np.exp(-((ax / 6.0) ** 4)) * front
    up = lift[:, None] * np.stack([0 * x, 0.85 + 0 * x, 0.05 + 0 * x], 1)
    inner = np.exp(-(((ax - 1.6) / 1.7) ** 2) - ((y - 2.5) / 1.4) ** 2) * front
    down = np.stack([-0.30 * side * inner, -0.55 * inner - 0.12 * lift, 0.22 * inner], 1)
    hollow = np.exp(-(((ax - 4.4) / 1.4) ** 2) - ((y - head.mouth_y) / 2.0) ** 2) * front
    purse = hollow[:, None] * np.stack([-0.25 * side, 0 * x, -0.15 + 0 * x], 1)
    return np.stack([jaw, smile, folded, up, down, purse])


def _fold_line(ax: Floats, y: Floats, mouth_y: float) -> Floats:
    """1 on the line from the nose's wing past the corner of the mouth, fading beside it."""
    t = np.clip((-3.4 - y) / (-3.4 - (mouth_y - 0.4)), 0.0, 1.0)
    line = 1.55 + 2.55 * t**1.1
    fade = _step(-2.9, -3.9, y) * _step(mouth_y - 1.6, mouth_y - 0.2, y)
    return np.exp(-(((ax - line) / 0.42) ** 2)) * fade


def _step(a: float, b: float, x: Floats) -> Floats:
    t = np.clip((x - a) / (b - a), 0.0, 1.0)
    return t * t * (3 - 2 * t)
