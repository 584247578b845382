"""Neck, shoulders and ears."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.portrait.mesh import Material, Mesh, f32, grid_triangles
from training.portrait.sdf import Distances, Field, Points, capsule, cast, ellipsoid, join
from training.portrait.shape import HeadShape

Floats = NDArray[np.float64]

NEUTRAL_UV = (10.4, 10.4)
"""A place of the skin's texture where nothing is painted."""


@dataclass(frozen=True)
class BodyShape:
    neck: float = 3.15
    shoulders: float = 11.6
    """Half the distance of the shoulders' ends."""
    shoulder_y: float = -16.8
    slope: float = 3.6
    """How much lower the shoulders' ends lie than their root."""
    thick: float = 3.4


def body_field(shape: BodyShape, *, bones: bool = False) -> Field:
    """Signed distance of neck, shoulders and chest; `bones` shows those of the collar."""

    def field(p: Points) -> Distances:
        s = shape
        p = np.concatenate([np.abs(p[:, :1]), p[:, 1:]], axis=1)
        d = capsule(p, (0, -6.0, -1.6), (0, -15.5, -2.4), s.neck * 0.97, s.neck * 1.06)
        # the two muscles that run from behind the ears to the pit of the throat
        d = join(d, capsule(p, (s.neck - 0.3, -8.0, -1.4), (0.7, -14.4, 0.9), 0.55, 0.45), 0.9)
        root = (1.2, s.shoulder_y + s.slope * 0.55, -2.6)
        end = (s.shoulders, s.shoulder_y - 0.45 * s.slope, -2.2)
        d = join(d, capsule(p, root, end, 1.5, s.thick), 3.2)
        d = join(d, ellipsoid(p, (0, -23.5, -1.4), (s.shoulders * 0.93, 8.6, 5.0)), 3.0)
        if not bones:
            return d
        return join(d, capsule(p, (0.9, -15.2, 0.55), (4.6, -15.1, 0.35), 0.24, 0.18), 0.7)

    return field


def around(field: Field, angle: Floats, y: Floats, reach: float = 24.0) -> Points:
    """Points of a body seen from its axis: `angle` 0 is the front, positive to the right."""
    start = np.stack([0 * y, y, np.full(np.shape(y), -2.0)], 1)
    direction = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    return cast(field, start, direction, reach)


def skin_body(shape: BodyShape, colour: ArrayLike, *, bare: bool) -> Mesh:
    """Neck and chest; `bare` where clothes leave the collar bones to be seen."""
    field = body_field(shape, bones=bare)
    rows, columns = 46, 72
    t, angle = np.meshgrid(np.linspace(0, 1, rows), np.linspace(-2.4, 2.4, columns), indexing="ij")
    y = -6.2 - 17.0 * t
    points = around(field, angle.ravel(), y.ravel())
    follow = np.clip((y.ravel() + 14.0) / 6.5, 0.0, 1.0)
    return Mesh(
        points.astype(np.float32),
        grid_triangles(rows, columns),
        Material.SKIN,
        np.asarray(colour, np.float32),
        uv=np.tile(f32(NEUTRAL_UV), (len(points), 1)),
        head_weight=(follow * follow * (3 - 2 * follow)).astype(np.float32),
    )


def ear(head: HeadShape, side: int, colour: ArrayLike, size: float = 1.0) -> Mesh:
    """An ear as relief on an egg-shaped disc, turned outwards and a little forward."""
    rings, spokes = 22, 44
    r, turn = np.meshgrid(
        np.linspace(0.0, 1.0, rings),
        np.linspace(0, 2 * np.pi, spokes, endpoint=False),
        indexing="ij",
    )
    tall = np.where(np.sin(turn) > 0, 2.0, 2.2)
    wide = 1.32 + 0.30 * np.sin(turn)
    x, y = r * np.cos(turn) * wide, r * np.sin(turn) * tall
    rim = np.exp(-(((r - 0.86) / 0.10) ** 2)) * _step(
        -0.95, -0.2, np.sin(turn) + 0.35 * np.cos(turn)
    )
    inner = np.exp(-(((r - 0.55) / 0.12) ** 2)) * np.clip(-np.cos(turn - 0.5) + 0.3, 0, 1)
    bowl = -0.55 * np.exp(-(((x - 0.25) / 0.55) ** 2) - ((y + 0.1) / 0.75) ** 2)
    lobe = 0.25 * np.exp(-((x / 0.7) ** 2) - ((y + 1.8) / 0.5) ** 2)
    fall = -1.1 * _step(0.86, 1.0, r)
    z = 0.42 * rim + 0.26 * inner + bowl + lobe + fall + 0.42
    # in the ear's own frame x runs forward; turn it to lie along the head
    flare = 0.42
    out = np.stack(
        [z * np.cos(flare) - x * np.sin(flare), y, x * np.cos(flare) + z * np.sin(flare)], -1
    )
    out[..., 1] += 0.10 * x
    points = out.reshape(-1, 3) * size
    points[:, 0] *= side
    points += [side * (head.face + 0.55), -1.0, -1.0]
    shade = (1.0 + 0.35 * bowl)[..., None] * np.array([1.0, 0.94, 0.92])
    triangles = grid_triangles(rings, spokes, closed=True, flip=side > 0)
    return Mesh(
        points.astype(np.float32),
        triangles,
        Material.SKIN,
        (np.asarray(colour) * shade.reshape(-1, 3)).astype(np.float32),
        uv=np.tile(f32(NEUTRAL_UV), (len(points), 1)),
        two_sided=True,
    )


def _step(a: float, b: float, x: Floats) -> Floats:
    t = np.clip((x - a) / (b - a), 0.0, 1.0)
    return t * t * (3 - 2 * t)
