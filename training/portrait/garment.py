"""Cloth as sheets: what every garment is made of."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.portrait.body import around
from training.portrait.look import Clothes, linear
from training.portrait.mesh import Material, Mesh, f32, grid_triangles, normals_of
from training.portrait.sdf import Distances, Field, Points

Floats = NDArray[np.float64]

_BOTTOM = -27.0


def inflated(field: Field, by: float) -> Field:
    def grown(p: Points) -> Distances:
        return field(p) - by

    return grown


def loft(
    curves: list[Floats] | Floats,
    colour: str,
    *,
    knit: float = 0.2,
    head_weight: float = 0.0,
    flip: bool = False,
    material: Material = Material.CLOTH,
    gloss: float | None = None,
) -> Mesh:
    """A sheet through curves (N, 3) of equal length, the first one uppermost."""
    table = np.asarray(curves, np.float64)
    rows, columns, _ = table.shape
    v, u = np.mgrid[0:rows, 0:columns]
    uv = np.stack([u.ravel() / 24.0, v.ravel() / 24.0], 1)
    return Mesh(
        table.reshape(-1, 3).astype(np.float32),
        grid_triangles(rows, columns, flip=flip),
        material,
        f32(linear(colour)),
        uv=uv.astype(np.float32),
        gloss=knit if gloss is None else gloss,
        head_weight=head_weight,
        two_sided=True,
    )


def garment(
    look: Clothes,
    field: Field,
    neckline: Callable[[Floats], Floats],
    seed: int,
    inflate: float = 0.42,
    colour: str | None = None,
) -> tuple[Mesh, Floats]:
    """Cloth from a neckline (height at each angle) downwards, and the neckline's points."""
    rng = np.random.default_rng([seed, 3])
    rows, columns = 52, 130
    angle = np.linspace(-2.6, 2.6, columns)
    t = np.linspace(0, 1, rows)[:, None] ** 1.15
    top = neckline(angle)[None]
    y = top + (_BOTTOM - top) * t
    turned = np.broadcast_to(angle, y.shape)
    points = around(inflated(field, inflate), turned.ravel(), y.ravel()).reshape(rows, columns, 3)
    points[..., 2] += 0.0
    fold = _folds(points, t, rng)
    triangles = grid_triangles(rows, columns)
    normal = normals_of(points.reshape(-1, 3), triangles).reshape(points.shape)
    points = points + fold[..., None] * normal
    mesh = loft(points, colour or look.colour, knit=look.knit)
    return mesh, points[0]


def _folds(points: Floats, t: Floats, rng: np.random.Generator) -> Floats:
    """Soft creases that hang from the shoulders and gather under the arms."""
    x, y = points[..., 0], points[..., 1]
    total = np.zeros_like(x)
    for side in (-1.0, 1.0):
        for _ in range(5):
            # each crease starts near the armpit and fans out to the neck and down
            start = np.array([side * rng.uniform(9.0, 11.0), rng.uniform(-24.0, -20.0)])
            end = np.array([side * rng.uniform(1.0, 5.0), rng.uniform(-23.0, -15.0)])
            along = end - start
            length = np.linalg.norm(along)
            unit = along / length
            u = (x - start[0]) * unit[0] + (y - start[1]) * unit[1]
            v = -(x - start[0]) * unit[1] + (y - start[1]) * unit[0]
            v = v + 0.35 * np.sin(0.8 * u)
            width = 0.55 + 0.16 * np.abs(u)
            fade = np.clip(u / 1.5, 0, 1) * np.clip((length - u) / 2.5, 0, 1)
            total += rng.uniform(0.08, 0.17) * np.exp(-((v / width) ** 2)) * fade * fade
    return total * np.minimum(1.0, 8 * t)
