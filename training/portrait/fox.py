"""What makes a fox of a person: the form of its head, its coat, ears and nose."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.body import BodyShape, around, body_field
from training.portrait.lids import EyeShape
from training.portrait.look import FurLook, linear
from training.portrait.mesh import Material, Mesh, f32, grid_triangles
from training.portrait.sdf import (
    Distances,
    Field,
    Points,
    capsule,
    carve,
    cast,
    ellipsoid,
    join,
    sphere,
)
from training.portrait.shape import CENTRE, HeadShape
from training.portrait.strokes import tapered
from training.portrait.topology import from_plane
from training.portrait.worn import ball

Floats = NDArray[np.float64]


def fox_field(s: HeadShape) -> Field:
    """Signed distance of a fox's head, without ears, eyes and lips."""

    def field(p: Points) -> Distances:
        p = np.concatenate([np.abs(p[:, :1]), p[:, 1:]], axis=1)
        d = ellipsoid(p, (0, 1.6, -1.0), (s.cranium, 6.9, 7.4))
        d = join(d, ellipsoid(p, (2.9, -3.0, 0.8), (3.9, 3.3, 4.4)), 2.2)
        d = join(d, ellipsoid(p, (0, s.mouth_y + 1.1, 4.6), (3.5, 2.6, 3.6 * s.muzzle)), 1.6)
        d = join(d, capsule(p, (0, 1.6, 5.2), (0, -2.4, 7.3), 1.5, 1.25), 1.6)
        d = join(d, ellipsoid(p, (0, s.mouth_y - 1.3, 3.8), (2.9, 1.7, 3.6)), 1.6)
        return carve(d, sphere(p, (s.eye_x + 0.2, 1.2, 8.6), 1.9), 1.6)

    return field


def coat(look: FurLook, x: Floats, y: Floats, head: HeadShape, eyes: EyeShape) -> Floats:
    """(..., 3) linear colour of the fur at a place seen frontally."""
    ax = np.abs(x)
    red, white, dark = (np.array(linear(c)) for c in (look.coat, look.belly, look.dark))
    cheek = -1.2 - 0.9 * np.clip(ax - 2.6, 0, None) + 1.1 * np.exp(-(((ax - 1.6) / 1.0) ** 2))
    mask = _step(0.35, -0.45, y - cheek + 0.12 * np.sin(2.6 * ax))
    brows = np.exp(-(((ax - eyes.x + 0.9) / 0.75) ** 2) - ((y - eyes.y - 2.35) / 0.42) ** 2)
    mask = np.maximum(mask, 0.85 * brows)
    bridge = np.exp(-((ax / 1.15) ** 2)) * _step(-3.6, -2.6, y)
    mask = mask * (1 - 0.9 * bridge)
    colour = red + mask[..., None] * (white - red)
    shade = np.exp(-(((ax - eyes.x) / 2.5) ** 2) - ((y - eyes.y - 0.35) / 1.35) ** 2)
    colour = colour + (0.55 * shade * (1 - mask))[..., None] * (dark - colour)
    whisker = np.exp(-(((ax - 1.5) / 0.12) ** 2)) * 0.0
    return np.asarray(colour * (1 - whisker[..., None]))


def fur(look: FurLook, head: HeadShape, eyes: EyeShape, field: Field, seed: int) -> Mesh:
    """Short tufts that lie away from the nose, long on the cheeks, none around eyes and lips."""
    rng = np.random.default_rng([seed, 11])
    count = look.tufts * 2
    plane = rng.uniform(-1.75, 1.75, (count, 2))
    plane = plane[np.linalg.norm(plane, axis=1) < 1.75]
    out = from_plane(plane)
    on = cast(field, np.broadcast_to(CENTRE, out.shape), out, 18.0)
    ax, y = np.abs(on[:, 0]), on[:, 1]
    bare = np.hypot((ax - eyes.x) / 2.5, (y - eyes.y) / 1.75) < 1
    bare |= np.hypot(ax / 3.0, (y - head.mouth_y) / 1.25) < 1
    bare |= np.hypot(ax / 1.3, (y + 2.5) / 1.1) < 1
    on = on[~bare][: look.tufts]
    x, y, z = on.T
    normal = on - np.array([0.0, -1.0, -0.5])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    away = on - np.array([0.0, -2.4, 8.5])
    away += np.stack([0.7 * x, -0.5 + 0.55 * y, -1.0 + 0 * x], 1)
    away += rng.normal(0, 1.0, away.shape)
    away -= np.sum(away * normal, 1, keepdims=True) * normal
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cheek = np.exp(-(((np.abs(x) - 6.0) / 2.0) ** 2) - ((y + 3.6) / 2.2) ** 2)
    length = (0.55 + 0.35 * _step(5.0, 0.0, z) + 1.5 * cheek) * rng.uniform(0.7, 1.25, len(x))
    steps = np.linspace(0, 1, 4)
    rise = 0.10 + (0.22 + 0.25 * cheek[:, None]) * np.sin(0.55 * np.pi * steps)
    paths = (
        on[:, None]
        + away[:, None] * (length[:, None] * steps)[..., None]
        + normal[:, None] * (length[:, None] * rise)[..., None]
    )
    tone = coat(look, x, y, head, eyes) * rng.uniform(0.84, 1.16, (len(x), 1))
    width = rng.uniform(0.28, 0.5, len(x)) * (1 + 0.7 * cheek)
    return tapered(paths, width, np.repeat(normal[:, None], 4, 1), tone, Material.FUR, 0.3)


def neck_fur(look: FurLook, body: BodyShape, seed: int) -> Mesh:
    """Tufts that hang from the chin into the collar."""
    rng = np.random.default_rng([seed, 12])
    count = look.tufts // 6
    angle, y = rng.uniform(-1.5, 1.5, count), rng.uniform(-12.0, -6.4, count)
    on = around(body_field(body), angle, y)
    out = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    fall = np.stack([0.25 * np.sin(angle), 0 * angle - 1.0, 0 * angle], 1)
    fall += rng.normal(0, 0.12, fall.shape)
    length = rng.uniform(0.8, 1.4, count)
    steps = np.linspace(0, 1, 4)
    paths = (
        on[:, None]
        + fall[:, None] * (length[:, None] * steps)[..., None]
        + out[:, None] * (length[:, None] * (0.05 + 0.28 * np.sin(0.6 * np.pi * steps)))[..., None]
    )
    tone = np.array(linear(look.belly)) * rng.uniform(0.82, 1.1, (count, 1))
    mesh = tapered(paths, 0.6, np.repeat(out[:, None], 4, 1), tone, Material.FUR, 0.3)
    mesh.head_weight = np.clip((mesh.points[:, 1] + 14.0) / 6.5, 0.0, 1.0).astype(np.float32)
    return mesh


def fox_parts(look: FurLook) -> list[Mesh]:
    """Ears and nose."""
    parts = [ball(np.array([0.0, -2.55, 8.55]), (1.15, 0.85, 0.75), linear(look.nose), 0.55)]
    for side in (-1.0, 1.0):
        parts += _ear(look, side)
    return parts


def _ear(look: FurLook, side: float) -> list[Mesh]:
    red, white, dark = (np.array(linear(c)) for c in (look.coat, look.belly, look.dark))
    t, u = np.meshgrid(np.linspace(0, 1, 22), np.linspace(-1, 1, 17), indexing="ij")
    half = 2.35 * (1 - t**1.5) ** 0.9 + 0.03
    lean = np.array([0.30, 0.95, -0.05])
    root, height = np.array([4.15, 4.6, -0.6]), 7.6
    meshes = []
    for front in (True, False):
        bow = (-1.0 if front else 0.9) * half * 0.55 * (1 - u * u)
        x = root[0] + lean[0] * height * t + half * u * 0.95
        y = root[1] + lean[1] * height * t - half * u * 0.30
        z = root[2] + lean[2] * height * t + bow - 0.35 * half * u + (0.0 if front else -0.15)
        tip = _step(0.62, 0.86, t)
        if front:
            inner = _step(1.0, 0.45, np.abs(u)) * _step(0.9, 0.6, t)
            colour = red + inner[..., None] * (white * np.array([0.95, 0.80, 0.76]) - red)
        else:
            colour = np.broadcast_to(red, (*t.shape, 3))
        colour = colour + tip[..., None] * (dark - colour)
        points = np.stack([side * x, y, z], -1).reshape(-1, 3)
        along = np.tile(f32([0.3 * side, 0.95, 0]), (len(points), 1))
        # rows run from the root up, so the front is wound the other way round
        meshes.append(
            Mesh(
                points.astype(np.float32),
                grid_triangles(22, 17, flip=(side > 0) == front),
                Material.FUR,
                colour.reshape(-1, 3).astype(np.float32),
                uv=np.stack([u.ravel() * 0.4, t.ravel()], 1).astype(np.float32),
                tangents=along,
                gloss=0.5,
                two_sided=True,
            )
        )
    return meshes


def _step(a: float, b: float, x: Floats) -> Floats:
    t = np.clip((x - a) / (b - a), 0.0, 1.0)
    return t * t * (3 - 2 * t)
