"""What lies out of focus behind a character."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]  # scipy has no stubs

from training.portrait.look import Backdrop

Floats = NDArray[np.float64]


def paint_backdrop(look: Backdrop, size: int, light_side: int, seed: int) -> NDArray[np.float32]:
    """(size, size, 3) display colours in [0, 1]."""
    rng = np.random.default_rng([seed, 9])
    small = 256
    y, x = np.mgrid[0:small, 0:small] / (small - 1.0)
    near, far, spot, accent = (_display(c) for c in (look.near, look.far, look.spot, look.accent))
    glow = np.exp(-(((x - 0.5 - 0.28 * light_side) / 0.45) ** 2) - ((y - 0.28) / 0.5) ** 2)
    base = far + (near - far) * np.clip(0.15 + 0.95 * glow - 0.25 * y, 0, 1)[..., None]
    painters = {
        "lights": _lights,
        "window": _window,
        "shelves": _shelves,
        "leaves": _leaves,
        "stars": _stars,
        "arches": _arches,
        "clocks": _clocks,
    }
    picture = painters[look.scene](base, x, y, spot, accent, rng)
    shade = 1.0 - 0.34 * np.clip(((x - 0.5) ** 2 + (y - 0.45) ** 2) * 2.2, 0, 1)
    picture = np.clip(picture * shade[..., None], 0, 1)
    at = (np.arange(size) + 0.5) * small / size - 0.5
    i = np.clip(np.floor(at).astype(int), 0, small - 2)
    f = np.clip(at - i, 0, 1)
    rows = picture[i] * (1 - f)[:, None, None] + picture[i + 1] * f[:, None, None]
    whole = rows[:, i] * (1 - f)[None, :, None] + rows[:, i + 1] * f[None, :, None]
    return whole.astype(np.float32)


def _display(code: str) -> Floats:
    return np.array([int(code[i : i + 2], 16) / 255.0 for i in (1, 3, 5)])


def _over(base: Floats, mask: Floats, colour: Floats) -> Floats:
    return base + mask[..., None] * (colour - base)


def _soft(mask: Floats, blur: float) -> Floats:
    return np.asarray(gaussian_filter(mask.astype(np.float64), blur))


def _discs(
    base: Floats,
    x: Floats,
    y: Floats,
    colour: Floats,
    rng: np.random.Generator,
    count: int,
    size: tuple[float, float],
    strength: tuple[float, float],
) -> Floats:
    """Lights out of focus: flat discs with a brighter rim."""
    for _ in range(count):
        cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 0.85), rng.uniform(*size)
        d = np.hypot(x - cx, y - cy) / r
        disc = np.clip((1 - d) * r * 140, 0, 1) * (0.72 + 0.28 * np.clip(d, 0, 1) ** 4)
        base = base + disc[..., None] * rng.uniform(*strength) * (colour - 0.35 * base)
    return base


def _lights(
    base: Floats, x: Floats, y: Floats, spot: Floats, accent: Floats, rng: np.random.Generator
) -> Floats:
    base = _discs(base, x, y, accent, rng, 12, (0.05, 0.10), (0.05, 0.16))
    return _discs(base, x, y, spot, rng, 10, (0.025, 0.06), (0.08, 0.30))


def _window(
    base: Floats, x: Floats, y: Floats, spot: Floats, accent: Floats, rng: np.random.Generator
) -> Floats:
    pane = ((x > 0.05) & (x < 0.34) & (y > 0.06) & (y < 0.62)).astype(float)
    bars = ((np.abs(x - 0.195) < 0.012) | (np.abs(y - 0.34) < 0.012)).astype(float)
    base = _over(base, _soft(pane * (1 - bars), 5.0) * 0.85, spot)
    wall = ((x > 0.70) & (x < 0.96) & (y > 0.20) & (y < 0.52)).astype(float)
    base = _over(base, _soft(wall, 4.0) * 0.5, accent)
    sill = (y > 0.80).astype(float) * (x < 0.5)
    return _over(base, _soft(sill, 6.0) * 0.3, accent * 0.6)


def _shelves(
    base: Floats, x: Floats, y: Floats, spot: Floats, accent: Floats, rng: np.random.Generator
) -> Floats:
    picture = base.copy()
    for level in (0.14, 0.40, 0.66):
        left = -0.02
        while left < 1.0:
            width, height = rng.uniform(0.025, 0.06), rng.uniform(0.13, 0.21)
            tone = accent * rng.uniform(0.5, 1.15) + rng.normal(0, 0.07, 3)
            book = (
                (x > left) & (x < left + width) & (y < level + 0.11) & (y > level + 0.11 - height)
            )
            if rng.random() < 0.82:
                picture = np.where(book[..., None], np.clip(tone, 0.03, 1), picture)
            left += width + 0.004
        board = (np.abs(y - level - 0.122) < 0.012)[..., None]
        picture = np.where(board, accent * 0.42, picture)
    blurred = np.stack([_soft(picture[..., c], 5.5) for c in range(3)], -1)
    mixed = 0.42 * base + 0.58 * blurred
    return _discs(mixed, x, y, spot, rng, 5, (0.03, 0.06), (0.06, 0.16))


def _leaves(
    base: Floats, x: Floats, y: Floats, spot: Floats, accent: Floats, rng: np.random.Generator
) -> Floats:
    for depth in range(3):
        mask = np.zeros_like(x)
        for _ in range(26):
            cx, cy, turn = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0, np.pi)
            a = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
            b = -(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)
            mask = np.maximum(
                mask, ((a / 0.09) ** 2 + (b / 0.032) ** 2 < 1) * rng.uniform(0.4, 1.0)
            )
        base = _over(base, _soft(mask, 7.0 - 1.8 * depth) * 0.45, accent * (0.55 + 0.25 * depth))
    return _discs(base, x, y, spot, rng, 12, (0.02, 0.05), (0.08, 0.28))


def _stars(
    base: Floats, x: Floats, y: Floats, spot: Floats, accent: Floats, rng: np.random.Generator
) -> Floats:
    band = np.exp(-(((y - 0.25 - 0.35 * (x - 0.5)) / 0.16) ** 2))
    cloud = _soft(rng.random(x.shape), 9.0)
    cloud = (cloud - cloud.mean()) / cloud.std()
    base = base + (band * (0.16 + 0.06 * cloud))[..., None] * accent
    mask = np.zeros_like(x)
    for _ in range(150):
        cx, cy = rng.integers(0, x.shape[1]), rng.integers(0, int(0.8 * x.shape[0]))
        mask[cy, cx] = rng.random() ** 4
    base = base + (_soft(mask, 0.9) * 5.0 + _soft(mask, 2.6) * 9.0)[..., None] * spot
    dome = np.clip((np.hypot((x - 0.5) / 1.0, (y - 1.15) / 0.72) < 0.72).astype(float), 0, 1)
    return _over(base, _soft(dome, 6.0) * 0.45, accent * 0.22)


def _arches(
    base: Floats, x: Floats, y: Floats, spot: Floats, accent: Floats, rng: np.random.Generator
) -> Floats:
    for cx in (0.10, 0.90):
        inside = (np.abs(x - cx) < 0.155) & (y > 0.30) & (y < 0.95)
        inside |= np.hypot(x - cx, y - 0.30) < 0.155
        base = _over(base, _soft(inside.astype(float), 4.0) * 0.62, accent * 0.72)
        frame = (np.abs(x - cx) < 0.075) & (y > 0.34) & (y < 0.62)
        base = _over(base, _soft(frame.astype(float), 3.0) * 0.75, spot * 0.92)
        canvas = (np.abs(x - cx) < 0.055) & (y > 0.365) & (y < 0.595)
        hue = np.array([0.45, 0.30, 0.26]) if cx < 0.5 else np.array([0.25, 0.36, 0.40])
        base = _over(base, _soft(canvas.astype(float), 3.0) * 0.8, hue)
    return base


def _clocks(
    base: Floats, x: Floats, y: Floats, spot: Floats, accent: Floats, rng: np.random.Generator
) -> Floats:
    for cx, cy, r in (
        (0.12, 0.20, 0.10),
        (0.90, 0.14, 0.085),
        (0.07, 0.58, 0.08),
        (0.93, 0.50, 0.11),
        (0.30, 0.05, 0.06),
    ):
        d = np.hypot(x - cx, y - cy)
        base = _over(base, _soft((d < r * 1.18).astype(float), 2.6) * 0.85, accent * 0.75)
        base = _over(base, _soft((d < r).astype(float), 2.2) * 0.80, spot * 0.92)
        for turn, length in ((rng.uniform(0, 6), 0.72), (rng.uniform(0, 6), 0.48)):
            u, v = (
                (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn),
                -(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn),
            )
            hand = (u > 0) & (u < r * length) & (np.abs(v) < 0.008)
            base = _over(base, _soft(hand.astype(float), 2.0) * 0.8, accent * 0.35)
    return base
