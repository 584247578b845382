"""Eyeballs, and how the shader is told what they do."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import Movement, Pose
from training.portrait.eye_shading import (
    CORNERS,
    EYE_ROW,
    FILL_AT,
    GAZE,
    INNER,
    IRIS,
    KEY_AT,
    LID_SAMPLES,
    PUPIL,
    SIDE,
    SIZE,
)
from training.portrait.lids import Lids
from training.portrait.light import FILL, KEY_HALF
from training.portrait.look import IrisLook, linear
from training.portrait.mesh import Material, Mesh, grid_triangles

Floats = NDArray[np.float32]

GAZE_X, GAZE_Y = 0.42, 0.26
"""Radians at gaze 1."""


def eyeball(lids: Lids) -> Mesh:
    """The part of a ball that lids may bare; `tangents` are directions from its centre."""
    s = lids.shape
    rise, turn = np.meshgrid(
        np.linspace(0.95, -0.85, 26), np.linspace(-1.1 * s.inner, 1.05 * s.outer, 30), indexing="ij"
    )
    out = np.stack(
        [lids.side * np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)], -1
    ).reshape(-1, 3)
    side = np.full((len(out), 2), 0.0 if lids.side < 0 else 1.0, np.float32)
    return Mesh(
        (lids.centre + s.radius * out).astype(np.float32),
        grid_triangles(26, 30, flip=lids.side < 0),
        Material.EYE,
        np.ones(3, np.float32),
        uv=side,
        tangents=out.astype(np.float32),
        casts=False,
    )


def gaze_direction(gaze_x: float, gaze_y: float) -> NDArray[np.float64]:
    """Gaze 1 looks to the picture's right and, in y, down, as `CONTROL_NAMES` has it."""
    turn, rise = GAZE_X * gaze_x, -GAZE_Y * gaze_y
    return np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])


def eye_rows(
    lids: dict[int, Lids],
    iris: IrisLook,
    pose: Pose,
    movement: Movement,
    turn: NDArray[np.float64],
    light: Floats,
) -> tuple[Floats, Floats]:
    """Both eyes as the shader reads them (2, EYE_ROW), and their lids' angles.

    The angles are (2, 2, LID_SAMPLES): upper and lower lid from the inner to the outer corner.
    """
    rows, tables = np.zeros((2, EYE_ROW), np.float32), np.empty((2, 2, LID_SAMPLES), np.float32)
    fill = light[FILL] + np.array([0.0, 0.0, 1.0])
    for index, side in enumerate((-1, 1)):
        shape, row = lids[side].shape, rows[index]
        row[GAZE : GAZE + 3] = gaze_direction(movement.gaze_x, movement.gaze_y)
        row[SIDE], row[SIZE], row[PUPIL] = side, shape.iris, iris.pupil
        row[IRIS : IRIS + 3], row[INNER : INNER + 3] = linear(iris.colour), linear(iris.inner)
        row[KEY_AT : KEY_AT + 3] = turn.T @ light[KEY_HALF]
        row[FILL_AT : FILL_AT + 3] = turn.T @ (fill / np.linalg.norm(fill))
        row[CORNERS : CORNERS + 2] = shape.outer, shape.inner
        tables[index] = _lid_table(lids[side], pose, movement)
    return rows, tables


def _lid_table(lids: Lids, pose: Pose, movement: Movement) -> Floats:
    upper, lower = lids.heights(pose, movement)
    half, across = len(upper) // 2, lids.across
    at = np.linspace(-1, 1, LID_SAMPLES)
    top = np.interp(at, across[: half + 1][::-1], upper[: half + 1][::-1])
    order = np.argsort(across[half:])
    bottom = np.interp(at, across[half:][order], lower[half:][order])
    return np.stack([top, bottom]).astype(np.float32)


def iris_texture(seed: int) -> Floats:
    """(48, 256) brightness of an iris: rings down, directions across."""
    rng = np.random.default_rng(seed)
    rho = np.linspace(0, 1, 48)[:, None]
    theta = np.linspace(0, 2 * np.pi, 256, endpoint=False)[None]
    fibres = np.zeros((48, 256))
    for count in (11, 17, 26, 37, 53):
        phase, weave = rng.uniform(0, 2 * np.pi, 2)
        bend = 0.6 * np.sin(3 * rho * rng.uniform(0.5, 2) + weave)
        fibres += np.sin(count * theta + phase + bend) / np.sqrt(count)
    fibres /= np.abs(fibres).max()
    crypts = (
        0.18
        * np.sin(9 * theta + 4 * rho + rng.uniform(0, 6))
        * np.exp(-(((rho - 0.62) / 0.1) ** 2))
    )
    return (0.5 + 0.34 * fibres * (0.4 + 0.6 * rho) + crypts).astype(np.float32)
