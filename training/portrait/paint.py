"""The skin's texture: blush, freckles, lid shadow and stubble over the plain colour."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.fox import coat
from training.portrait.lids import EyeShape
from training.portrait.look import Look, linear
from training.portrait.shade import SKIN_SPAN
from training.portrait.shape import HeadShape
from training.portrait.strokes import bearded

Floats = NDArray[np.float64]

SIZE = 512


def skin_texture(whole: Look) -> NDArray[np.float32]:
    """(512, 512, 4): factors of the skin's red, green, blue and gloss, seen frontally."""
    look, head, eyes, seed = whole.skin, whole.head, whole.eyes, whole.seed
    rng = np.random.default_rng([seed, 5])
    row, column = np.mgrid[0:SIZE, 0:SIZE]
    x = ((column + 0.5) / SIZE * 2 - 1) * SKIN_SPAN
    y = (1 - (row + 0.5) / SIZE * 2) * SKIN_SPAN
    ax, base = np.abs(x), np.array(linear(look.colour))
    tint = np.ones((SIZE, SIZE, 3))

    def lay(amount: Floats, colour: NDArray[np.float64] | str) -> None:
        goal = np.array(linear(colour)) if isinstance(colour, str) else colour
        factor = goal / base
        tint[:] = tint * (1 + amount[..., None] * (factor - 1))

    if whole.fur:
        tint[:] = coat(whole.fur, x, y, head, eyes) / base
    cheeks = _spot(ax, y, 3.9, -2.9, 2.0, 1.5)
    lay(look.blush_amount * cheeks, look.blush)
    nose = _spot(x, y, 0.0, -head.nose_length + head.nose_up, 1.25, 1.0)
    lay(0.75 * look.blush_amount * nose, look.blush)
    lay(0.35 * look.blush_amount * _spot(x, y, 0.0, head.chin_y + 1.4, 1.6, 1.0), look.blush)
    lid = _spot(ax, y, eyes.x, eyes.y + 0.75, 2.1, 1.05)
    lay(look.shadow_on_lids * lid, base * np.array([0.62, 0.42, 0.42]))
    under = _spot(ax, y, eyes.x - 0.25, eyes.y - 1.75, 1.7, 0.45)
    lay((0.04 + 0.16 * look.wrinkles) * under, base * np.array([0.70, 0.55, 0.56]))
    tip_y = -head.nose_length + head.nose_up
    nostril = _spot(ax, y + 0.12 * (ax - 0.7), 0.68 * head.nose_wing_x, tip_y - 0.80, 0.34, 0.15)
    lay(0.85 * nostril, base * np.array([0.20, 0.09, 0.08]))
    wing = np.exp(
        -(((np.hypot((ax - head.nose_wing_x) * 1.0, y - tip_y + 0.25) - 0.78) / 0.13) ** 2)
    )
    lay(0.30 * wing * (ax > head.nose_wing_x), base * np.array([0.55, 0.36, 0.33]))
    if look.wrinkles:
        for line, strength in _wrinkles(x, y, ax, head, eyes):
            lay(0.42 * look.wrinkles * strength * line, base * np.array([0.55, 0.40, 0.38]))
    mottle = _noise(rng, 9) * 0.030 + _noise(rng, 40) * 0.016
    tint *= (1 + mottle)[..., None] * (
        1 + 0.02 * _noise(rng, 14)[..., None] * np.array([0.3, 1, 1])
    )
    if look.stubble:
        jaw = _step(head.mouth_y + 2.2, head.mouth_y + 0.2, y) * _step(5.6, 3.4, ax) ** 0.3
        lip = _spot(x, y, 0.0, head.mouth_y + 1.25, 2.6, 0.55)
        grain = 0.75 + 0.25 * _noise(rng, 160)
        lay(
            look.stubble * np.clip(np.maximum(jaw * 0.8, lip), 0, 1) * grain,
            base * np.array([0.45, 0.47, 0.52]),
        )
    if beard := whole.beard:
        grown = bearded(ax, y, head, beard.reach) * (0.75 + 0.25 * _noise(rng, 120))
        lip = _spot(x, y, 0.0, head.mouth_y + 1.25, 2.4, 0.5)
        lay(0.92 * np.clip(np.maximum(grown, lip), 0, 1), np.array(linear(beard.colour)) * 0.6)
    for _ in range(look.freckles):
        fx, fy = rng.normal(0, 2.7), rng.normal(-2.0, 1.0)
        size = rng.uniform(0.07, 0.14)
        if abs(fx) < 5.5 and not (abs(abs(fx) - eyes.x) < 1.9 and abs(fy - eyes.y) < 1.1):
            lay(
                rng.uniform(0.35, 0.8) * _spot(x, y, fx, fy, size, size),
                base * np.array([0.60, 0.40, 0.30]),
            )
    gloss = 0.75 + 0.5 * _spot(x, y, 0.0, -2.0, 1.0, 2.6) + 0.35 * _spot(x, y, 0.0, 5.0, 3.5, 1.6)
    gloss = (
        look.oil * (gloss + 0.25 * _spot(ax, y, 3.6, -1.6, 1.3, 0.8)) * (1 + 0.08 * _noise(rng, 70))
    )
    return np.concatenate([tint, gloss[..., None]], -1).astype(np.float32)


def _wrinkles(
    x: Floats, y: Floats, ax: Floats, head: HeadShape, eyes: EyeShape
) -> list[tuple[Floats, float]]:
    """Fine lines (1 on them), each with its strength."""
    lines = []
    for height in (4.5, 5.3, 6.1):
        wave = height + 0.18 * np.cos(0.9 * x + height)
        lines.append((np.exp(-(((y - wave) / 0.09) ** 2)) * _step(4.2, 2.6, ax), 0.45))
    t = np.clip((-3.3 - y) / (-2.9 - head.mouth_y), 0.0, 1.0)
    fold = 1.65 + 2.0 * t**1.1
    lines.append(
        (
            np.exp(-(((ax - fold) / 0.14) ** 2))
            * _step(-3.0, -3.9, y)
            * _step(head.mouth_y - 0.7, head.mouth_y + 0.5, y),
            1.0,
        )
    )
    for angle in (-0.45, 0.0, 0.42):
        u, v = ax - eyes.x - 2.15, y - eyes.y - 0.1
        along, across = (
            u * np.cos(angle) + v * np.sin(angle),
            -u * np.sin(angle) + v * np.cos(angle),
        )
        lines.append(
            (
                np.exp(-((across / 0.08) ** 2)) * _step(0.0, 0.25, along) * _step(1.0, 0.5, along),
                0.7,
            )
        )
    bag = eyes.y - 1.75 + 0.16 * (ax - eyes.x) ** 2
    lines.append(
        (np.exp(-(((y - bag) / 0.11) ** 2)) * _step(1.5, 0.8, np.abs(ax - eyes.x + 0.1)), 0.8)
    )
    return lines


def _spot(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float) -> Floats:
    return np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


def _step(a: float, b: float, x: Floats) -> Floats:
    t = np.clip((x - a) / (b - a), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _noise(rng: np.random.Generator, cells: int) -> Floats:
    """Smooth noise of mean 0 with `cells` knots a side."""
    knots = rng.standard_normal((cells + 3, cells + 3))
    at = np.linspace(0, cells, SIZE)
    i = at.astype(int)
    f = at - i
    f = f * f * (3 - 2 * f)
    rows = knots[i] * (1 - f)[:, None] + knots[i + 1] * f[:, None]
    return rows[:, i] * (1 - f) + rows[:, i + 1] * f


def strand_texture(seed: int = 0) -> NDArray[np.float32]:
    """(64, 256, 2): streaks along hair, and the grain of cloth; both repeat."""
    rng = np.random.default_rng([seed, 6])
    streaks = np.zeros((64, 256))
    for period, weight in ((1, 0.35), (2, 0.45), (5, 0.55), (11, 0.45)):
        line = rng.random(256)
        kernel = np.hanning(2 * period + 3)
        kernel /= kernel.sum()
        wide = np.convolve(np.tile(line, 3), kernel, "same")[256:512]
        wide = (wide - wide.mean()) / (wide.std() + 1e-9)
        drift = np.cumsum(rng.normal(0, 0.05, 64))
        drift -= np.linspace(0, drift[-1], 64)
        streaks += weight * np.stack([np.roll(wide, int(d * period * 2)) for d in drift])
    streaks = 0.5 + 0.22 * streaks / streaks.std()
    weave = rng.random((64, 256))
    weave = 0.25 * (
        weave + np.roll(weave, 1, 0) + np.roll(weave, 1, 1) + np.roll(weave, (1, 1), (0, 1))
    )
    return np.stack([np.clip(streaks, 0, 1), weave], -1).astype(np.float32)
