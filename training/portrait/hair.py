"""Hair: locks that flow over a volume, each a curved ribbon."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.look import Blob, HairLook, Locks, linear
from training.portrait.mesh import Material, Mesh, combined, f32, grid_triangles
from training.portrait.sdf import Distances, Field, Points, capsule, cast, ellipsoid, join
from training.portrait.shape import CENTRE

Floats = NDArray[np.float64]

_LINE_AT = np.radians([0.0, 30.0, 60.0, 75.0, 95.0, 125.0, 180.0])
_ACROSS = 5


def volume_field(blobs: tuple[Blob, ...]) -> Field:
    """The surface on which the outermost hair lies; the first blob holds the skull."""

    def field(p: Points) -> Distances:
        d = np.full(len(p), 1e3)
        for blob in blobs:
            for side in (1.0, -1.0) if blob.mirror else (1.0,):
                flip = np.array([side, 1.0, 1.0])
                if blob.end is None:
                    new = ellipsoid(p, np.array(blob.centre) * flip, blob.radii)
                else:
                    start, end = np.array(blob.centre) * flip, np.array(blob.end) * flip
                    new = capsule(p, start, end, blob.radii[0], blob.radii[1])
                d = join(d, new, blob.blend)
        return d

    return field


def hairline(look: HairLook, azimuth: Floats) -> Floats:
    """Height of the hairline at an azimuth in radians, 0 at the front."""
    return np.interp(np.abs(azimuth), _LINE_AT, look.hairline)


def grow_hair(look: HairLook, head: Field, seed: int) -> Mesh:
    """All locks as one mesh."""
    volume = volume_field(look.volume)
    meshes = [cap(look, head, volume)]
    for number, locks in enumerate(look.locks):
        rng = np.random.default_rng([seed, number])
        roots = _roots(look, locks, volume, rng)
        paths = flow(look, locks, volume, head, roots, rng)
        meshes.append(ribbons(look, locks, paths, volume, rng))
    return combined(meshes)


def cap(look: HairLook, head: Field, volume: Field) -> Mesh:
    """A dark layer under the locks, from the crown to the hairline."""

    def under(p: Points) -> Distances:
        return np.minimum(head(p) - 0.10, np.maximum(volume(p) + 0.62, head(p) - 1.6))

    rows, columns = 30, 96
    t, turn = np.meshgrid(
        np.linspace(0, 1, rows), np.linspace(-np.pi, np.pi, columns), indexing="ij"
    )
    line = np.arcsin(np.clip((hairline(look, turn) - CENTRE[1]) / 10.2, -0.98, 0.98))
    rise = 0.5 * np.pi - t * (0.5 * np.pi - line)
    out = np.stack([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)], -1)
    out = out.reshape(-1, 3)
    points = cast(under, np.broadcast_to(CENTRE, out.shape), out, 20.0)
    tangent = np.stack([-np.sin(turn), 0 * turn, np.cos(turn)], -1).reshape(-1, 3)
    uv = np.stack([turn.ravel() * 2.0, t.ravel()], 1)
    return Mesh(
        points.astype(np.float32),
        grid_triangles(rows, columns),
        Material.HAIR,
        f32(linear(look.colour)) * np.float32(0.55),
        uv=uv.astype(np.float32),
        tangents=tangent.astype(np.float32),
        gloss=look.grain,
        two_sided=True,
    )


def _roots(look: HairLook, locks: Locks, volume: Field, rng: np.random.Generator) -> Points:
    """Points on the volume over the scalp, evenly spread by rejection of close neighbours."""
    first, last, low, high = locks.where
    if locks.rooted == "part":
        return _along_part(look, locks, volume, rng)
    chosen: list[Floats] = []
    tries = rng.random((locks.count * 12, 2))
    azimuth = np.radians(first + (last - first) * tries[:, 0])
    line = hairline(look, azimuth)
    crown = 10.4
    y = line + (crown - line) * (low + (high - low) * tries[:, 1])
    # The nearer the crown, the shorter the way around the head.
    level = np.clip((y - CENTRE[1]) / (crown - CENTRE[1] + 0.3), -0.98, 0.985)
    ring = np.sqrt(1 - level**2)
    directions = np.stack([np.sin(azimuth) * ring, level, np.cos(azimuth) * ring], 1)
    points = cast(volume, np.broadcast_to(CENTRE, directions.shape), directions, 22.0)
    keep = rng.random(len(points)) < np.clip(ring + 0.15, 0, 1)
    points = points[keep]
    for point in points:
        if len(chosen) == locks.count:
            break
        if not chosen:
            chosen.append(point)
            continue
        nearest = np.linalg.norm(np.asarray(chosen) - point, axis=1).min()
        if nearest > 0.33 * locks.width[0] or rng.random() < 0.08:
            chosen.append(point)
    return np.asarray(chosen)


def _along_part(look: HairLook, locks: Locks, volume: Field, rng: np.random.Generator) -> Points:
    """Places on both sides of the parting, from the hairline over the crown."""
    low = float(np.arcsin((hairline(look, np.zeros(1))[0] - CENTRE[1] + 0.3) / 10.4))
    first, last = locks.where[2:]
    rise = low + (2.05 - low) * (first + (last - first) * np.sort(rng.random(locks.count)))
    directions = np.stack([0 * rise, np.sin(rise), np.cos(rise)], 1)
    side = np.where(np.arange(locks.count) % 2 == 0, 1.0, -1.0)
    aside = look.part + side * rng.uniform(0.05, 0.4, locks.count)
    points = cast(volume, np.broadcast_to(CENTRE, directions.shape), directions, 22.0)
    directions = points + np.stack([aside, 0 * aside, 0 * aside], 1) - CENTRE
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return cast(volume, np.broadcast_to(CENTRE, directions.shape), directions, 22.0)


def flow(
    look: HairLook,
    locks: Locks,
    volume: Field,
    head: Field,
    roots: Points,
    rng: np.random.Generator,
) -> Floats:
    """(N, steps, 3) paths from the roots over the volume's surface."""
    count, steps = len(roots), locks.steps
    length = rng.uniform(*locks.length, count)
    depth = rng.uniform(*locks.depth, count)
    turn = rng.normal(0, locks.mess, (count, 3))
    paths = np.empty((count, steps, 3))
    p = roots.copy()
    before = np.zeros_like(p)
    spread = locks.fan * np.clip(roots[:, 2] / 5.0, -1.2, 1.0)
    for step in range(steps):
        t = step / (steps - 1)
        normal = _gradient(volume, p)
        rooted = max(0.0, 1.0 - t / 0.12)
        level = -depth - (0.75 - 0.5 * depth) * rooted * rooted + locks.lift * t * t
        stick = locks.stick if t > 0 else 1.0
        p = p - (stick * (volume(p) - level))[:, None] * normal
        inside = np.maximum(0.0, 0.22 - head(p)) * (t > 0.08)
        p = p + inside[:, None] * _gradient(head, p)
        paths[:, step] = p
        side = np.where(p[:, 0] > look.part, 1.0, -1.0)
        hang = np.clip((6.0 - p[:, 1]) / 8.0, 0.0, 1.0)
        ahead = np.stack(
            [
                locks.from_part * side * (1 - 0.8 * hang) + locks.aside,
                -locks.down * (0.35 + 1.3 * hang) + 0 * side,
                -locks.back * (1 - 0.6 * hang) + spread * (1 - hang),
            ],
            1,
        )
        if locks.towards is not None:
            pull = np.asarray(locks.towards) - p
            ahead = pull / (np.linalg.norm(pull, axis=1, keepdims=True) + 1e-6)
        ahead = ahead + turn
        ahead -= 0.92 * np.sum(ahead * normal, 1, keepdims=True) * normal
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
        ahead = ahead + 0.9 * before if step else ahead
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
        before = ahead
        p = p + ahead * (length / (steps - 1))[:, None]
    return _waved(paths, locks, volume, rng)


def _waved(paths: Floats, locks: Locks, volume: Field, rng: np.random.Generator) -> Floats:
    if locks.wave == 0.0:
        return paths
    count, steps, _ = paths.shape
    tangent = np.gradient(paths, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-9
    normal = _gradient(volume, paths.reshape(-1, 3)).reshape(paths.shape)
    side = np.cross(tangent, normal)
    t = np.linspace(0, 1, steps)[None]
    # Neighbours wave together: their phase depends on where they grow.
    phase = 0.55 * paths[:, 0, 0] + 0.3 * paths[:, 0, 2] + rng.normal(0, 0.35, count)
    angle = 2 * np.pi * locks.waves * t * rng.uniform(0.9, 1.1, (count,))[:, None] + phase[:, None]
    grown = locks.wave * np.minimum(1.0, 1.8 * t)
    sideways, outwards = grown * np.sin(angle), grown * locks.curl * np.cos(angle)
    return paths + sideways[..., None] * side + outwards[..., None] * normal


def ribbons(
    look: HairLook, locks: Locks, paths: Floats, volume: Field, rng: np.random.Generator
) -> Mesh:
    count, steps, _ = paths.shape
    tangent = np.gradient(paths, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-9
    normal = _gradient(volume, paths.reshape(-1, 3)).reshape(paths.shape)
    normal -= np.sum(normal * tangent, 2, keepdims=True) * tangent
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-9
    side = np.cross(tangent, normal)
    t: Floats = np.linspace(0.0, 1.0, steps)
    profile = (0.40 + 0.60 * np.minimum(1, t * 3.5)) * np.sqrt(np.maximum(0.0, 1 - t**3.2)) + 0.02
    width = 0.5 * rng.uniform(*locks.width, (count,))[:, None] * profile
    u = np.linspace(-1, 1, _ACROSS)
    points = (
        paths[:, :, None]
        + (width[..., None] * u)[..., None] * side[:, :, None]
        + (width[..., None] * 2 * locks.thickness * (1 - u * u))[..., None] * normal[:, :, None]
    )
    root, tip = np.array(linear(look.colour)), np.array(linear(look.tip))
    mixed = np.clip(t[None] ** 1.2 + rng.normal(0, 0.15, (count, 1)), 0, 1)[..., None]
    colour = (root + (tip - root) * mixed) * locks.shade
    colour = (
        colour
        * rng.uniform(0.78, 1.22, (count, 1, 1))
        * (1 - 0.55 * np.exp(-t / 0.07))[None, :, None]
    )
    colour = np.repeat(colour[:, :, None], _ACROSS, axis=2) * (0.80 + 0.20 * (1 - u * u))[:, None]
    grain = rng.random((count,))[:, None, None] + 0.10 * width[..., None] * u
    along = t[None, :, None] * 0.4 + rng.random((count,))[:, None, None]
    uv = np.stack(np.broadcast_arrays(grain, along), -1)
    tangents = np.repeat(tangent[:, :, None], _ACROSS, axis=2)
    # Mostly the volume's own normals: locks are relief on a form, not single boards.
    round_ = normal[:, :, None] + (0.55 * u)[None, None, :, None] * side[:, :, None]
    round_ /= np.linalg.norm(round_, axis=-1, keepdims=True)
    one = grid_triangles(steps, _ACROSS)
    triangles = (one[None] + (np.arange(count) * steps * _ACROSS)[:, None, None]).reshape(-1, 3)
    low = points[..., 1].reshape(-1)
    follow = np.clip((low + 16.0) / 9.0, 0.25, 1.0)
    return Mesh(
        points.reshape(-1, 3).astype(np.float32),
        triangles,
        Material.HAIR,
        colour.reshape(-1, 3).astype(np.float32),
        uv=uv.reshape(-1, 2).astype(np.float32),
        tangents=tangents.reshape(-1, 3).astype(np.float32),
        normals=round_.reshape(-1, 3).astype(np.float32),
        gloss=look.grain,
        head_weight=follow.astype(np.float32),
        two_sided=True,
    )


def _gradient(field: Field, p: Points) -> Points:
    h = 0.02
    slope = np.stack([field(p + h * axis) - field(p - h * axis) for axis in np.eye(3)], axis=1)
    normal: Points = slope / (np.linalg.norm(slope, axis=1, keepdims=True) + 1e-12)
    return normal
