"""The colour of each pixel of an eye: iris, pupil, white, the lids' shadow, reflections."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from training.portrait.light import FILL_RGB, KEY, KEY_RGB, SKY
from training.portrait.mesh import Material

Floats = NDArray[np.float32]
EYE = Material.EYE

LID_SAMPLES = 33
GAZE, SIDE, SIZE, IRIS, INNER, KEY_AT, FILL_AT, PUPIL, CORNERS, EYE_ROW = (
    0,
    3,
    4,
    5,
    8,
    11,
    14,
    17,
    18,
    20,
)
"""Columns of an eye's row: gaze direction, side, iris angle, two iris colours, where the lamps
reflect (directions in the head's frame), pupil's share of the iris, corner angles."""


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
def _between(a: float, b: float, x: float) -> float:
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
def _reflection(
    nx: float, ny: float, at_x: float, at_y: float, half_width: float, half_height: float
) -> float:
    """A window's soft-edged picture in the cornea."""
    x, y = (nx - at_x) / half_width, (ny - at_y) / half_height
    d = x * x * x * x + y * y * y * y
    return 1.0 - _between(0.55, 1.25, d)


@njit(cache=True, fastmath=True, error_model="numpy")
def _eye_colour(
    dx: float,
    dy: float,
    dz: float,
    nx: float,
    ny: float,
    nz: float,
    eye: Floats,
    lids: Floats,
    iris: Floats,
    light: Floats,
) -> tuple[float, float, float]:
    """Linear colour of the ball at direction d (in the head's frame) with normal n."""
    length = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * length, dy * length, dz * length
    gx, gy, gz = eye[0], eye[1], eye[2]
    along = dx * gx + dy * gy + dz * gz
    # place on the iris: x to the right, y up, as seen along the gaze
    ox, oy = dx - along * gx, dy - along * gy
    angle = np.arccos(min(max(along, -1.0), 1.0))
    rho = angle / eye[SIZE]
    # the lids' shadow
    turn = np.arctan2(dx * eye[SIDE], dz)
    place = turn / (eye[CORNERS] if turn > 0 else eye[CORNERS + 1])
    slot = min(max((place * 0.5 + 0.5) * (LID_SAMPLES - 1), 0.0), LID_SAMPLES - 1.001)
    first = int(slot)
    part = slot - first
    upper = lids[0, first] * (1 - part) + lids[0, first + 1] * part
    lower = lids[1, first] * (1 - part) + lids[1, first + 1] * part
    rise = np.arcsin(min(max(dy, -1.0), 1.0))
    shadow = 0.30 + 0.70 * _between(-0.02, 0.30, upper - rise)
    shadow *= 0.72 + 0.28 * _between(-0.02, 0.12, rise - lower)
    shadow *= 0.70 + 0.30 * _between(1.05, 0.70, abs(place))
    key = nx * light[KEY, 0] + ny * light[KEY, 1] + nz * light[KEY, 2]
    key = max(0.45 + 0.55 * key, 0.0)
    light_r = shadow * (
        light[KEY_RGB, 0] * key * 0.62 + light[SKY, 0] * 0.7 + light[FILL_RGB, 0] * 0.5
    )
    light_g = shadow * (
        light[KEY_RGB, 1] * key * 0.62 + light[SKY, 1] * 0.7 + light[FILL_RGB, 1] * 0.5
    )
    light_b = shadow * (
        light[KEY_RGB, 2] * key * 0.62 + light[SKY, 2] * 0.7 + light[FILL_RGB, 2] * 0.5
    )
    pink = _between(0.55, 1.0, abs(place)) * 0.5
    red, green, blue = 0.80, 0.79 - 0.20 * pink, 0.78 - 0.22 * pink
    edge = _between(1.06, 0.96, rho)
    if edge > 0.0:
        around = np.arctan2(oy, ox) / (2 * np.pi)
        column = (around - np.floor(around)) * 256.0
        line = min(rho, 0.999) * 47.0
        c0, r0 = int(column) % 256, int(line)
        fc, fr = column - int(column), line - r0
        r1 = min(r0 + 1, 47)
        c1 = (c0 + 1) % 256
        fibre = (iris[r0, c0] * (1 - fc) + iris[r0, c1] * fc) * (1 - fr)
        fibre += (iris[r1, c0] * (1 - fc) + iris[r1, c1] * fc) * fr
        inner = _between(0.85, 0.40, rho)
        # light falls through the cornea and gathers on the far side of the iris
        depth = (ox * -light[KEY, 0] + oy * -light[KEY, 1]) / eye[SIZE]
        gather = 0.55 + 0.85 * _between(-0.4, 0.9, depth + 0.15)
        tone = (0.45 + 1.1 * fibre) * gather
        ring = 1.0 - 0.86 * _between(0.74, 1.0, rho)
        pupil = _between(eye[PUPIL] - 0.05, eye[PUPIL] + 0.06, rho)
        ir = (eye[IRIS] * (1 - inner) + eye[INNER] * inner) * tone * ring * pupil + 0.006
        ig = (eye[IRIS + 1] * (1 - inner) + eye[INNER + 1] * inner) * tone * ring * pupil + 0.005
        ib = (eye[IRIS + 2] * (1 - inner) + eye[INNER + 2] * inner) * tone * ring * pupil + 0.006
        red, green, blue = (
            red + (ir - red) * edge,
            green + (ig - green) * edge,
            blue + (ib - blue) * edge,
        )
    red, green, blue = red * light_r, green * light_g, blue * light_b
    # The cornea is a smaller ball: its normal turns faster than the eye's.
    bulge = 0.9 * _between(1.25, 0.9, rho)
    cx, cy, cz = dx + bulge * ox, dy + bulge * oy, dz + bulge * (dz - along * gz)
    length = 1.0 / np.sqrt(cx * cx + cy * cy + cz * cz)
    cx, cy = cx * length, cy * length
    # Reflections wander over the cornea, but less than the gaze: they stay with the iris.
    hx, hy = eye[KEY_AT] + 0.4 * gx, eye[KEY_AT + 1] + 0.4 * gy
    bright = _reflection(cx, cy, hx, hy, 0.125, 0.15) * 1.6
    hx, hy = eye[FILL_AT] + 0.4 * gx, eye[FILL_AT + 1] + 0.4 * gy
    soft = _reflection(cx, cy, hx, hy, 0.10, 0.13) * 0.22
    under = (0.35 + 0.65 * _between(0.0, 0.10, upper - rise)) * _between(1.12, 0.9, rho)
    shine = (bright + soft) * under
    fresnel = 0.05 * _between(0.75, 0.2, dz) * shadow
    return red + shine + fresnel, green + shine + fresnel, blue + 1.02 * shine + fresnel


@njit(cache=True, fastmath=True, error_model="numpy")
def shade_eyes(
    owner: NDArray[np.int32],
    weights: Floats,
    triangles: NDArray[np.int32],
    materials: NDArray[np.int32],
    attributes: Floats,
    eyes: Floats,
    lid_heights: Floats,
    iris: Floats,
    light: Floats,
    out: Floats,
) -> None:
    """Linear light (H, W, 3) from the pixels that see an eyeball; see `shade.shade`."""
    for row in range(owner.shape[0]):
        for column in range(owner.shape[1]):
            t = owner[row, column]
            if t < 0 or materials[t] != EYE:
                continue
            b, c = weights[row, column, 0], weights[row, column, 1]
            a = 1.0 - b - c
            p, q, r = (
                attributes[triangles[t, 0]],
                attributes[triangles[t, 1]],
                attributes[triangles[t, 2]],
            )
            side = 0 if p[8] < 0.5 else 1
            red, green, blue = _eye_colour(
                a * p[10] + b * q[10] + c * r[10],
                a * p[11] + b * q[11] + c * r[11],
                a * p[12] + b * q[12] + c * r[12],
                a * p[0] + b * q[0] + c * r[0],
                a * p[1] + b * q[1] + c * r[1],
                a * p[2] + b * q[2] + c * r[2],
                eyes[side],
                lid_heights[side],
                iris,
                light,
            )
            out[row, column, 0], out[row, column, 1], out[row, column, 2] = red, green, blue
