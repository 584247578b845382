"""Short hairs bound to the skin: brows, beards and lashes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.portrait.action import REST
from training.portrait.lids import Lids
from training.portrait.look import BeardLook, BrowLook, linear
from training.portrait.mesh import Material, Mesh, f32, grid_triangles
from training.portrait.sdf import Field, cast, front
from training.portrait.shape import CENTRE, HeadShape
from training.portrait.topology import from_plane

Floats = NDArray[np.float64]


def tapered(
    paths: Floats,
    width: ArrayLike,
    facing: Floats,
    colour: Floats,
    material: Material,
    grain: float,
) -> Mesh:
    """Flat pointed ribbons along `paths` (N, S, 3), seen broadside from `facing` (N, S, 3)."""
    count, steps, _ = paths.shape
    tangent = np.gradient(paths, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-9
    side = np.cross(tangent, facing)
    side /= np.linalg.norm(side, axis=2, keepdims=True) + 1e-9
    t: Floats = np.linspace(0.0, 1.0, steps)
    half = 0.5 * np.broadcast_to(np.asarray(width, np.float64), count)[:, None]
    half = half * (0.65 + 0.35 * np.minimum(1, t * 3)) * np.sqrt(1 - t**2.2 * 0.99)
    u = np.array([-1.0, 0.0, 1.0])
    points = paths[:, :, None] + (half[..., None] * u)[..., None] * side[:, :, None]
    points = points + (half[..., None] * 0.5 * (1 - u * u))[..., None] * facing[:, :, None]
    one = grid_triangles(steps, 3)
    triangles = (one[None] + (np.arange(count) * steps * 3)[:, None, None]).reshape(-1, 3)
    rng = np.random.default_rng(count)
    uv = np.stack(
        np.broadcast_arrays(
            rng.random((count,))[:, None, None] + 0.03 * u, 0.3 * t[None, :, None] + 0 * u
        ),
        -1,
    )
    return Mesh(
        points.reshape(-1, 3).astype(np.float32),
        triangles,
        material,
        np.repeat(np.repeat(colour, steps, 0), 3, 0).astype(np.float32),
        uv=uv.reshape(-1, 2).astype(np.float32),
        tangents=np.repeat(tangent.reshape(-1, 3), 3, 0).astype(np.float32),
        gloss=grain,
        two_sided=True,
        casts=False,
    )


def brow(look: BrowLook, field: Field, side: int, seed: int) -> Mesh:
    """Hairs along a bent line over the eye: upright inside, lying outside."""
    rng = np.random.default_rng([seed, 7])
    t = np.sort(rng.random(look.hairs)) ** 0.95
    a, b, c = (np.asarray(p) for p in (look.inner, look.peak, look.tail))
    control = 2 * b - 0.5 * (a + c)
    line = ((1 - t) ** 2)[:, None] * a + (2 * t * (1 - t))[:, None] * control + (t**2)[:, None] * c
    along = 2 * (1 - t)[:, None] * (control - a) + 2 * t[:, None] * (c - control)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    thick = look.thick * np.minimum(1.0, 0.62 + t * 1.5) * np.minimum(1.0, 1.25 * (1 - t) + 0.16)
    place = rng.uniform(-1, 1, look.hairs)
    start = line + across * (0.5 * thick * place)[:, None]
    # The upper hairs lean down and the lower ones up, so that they meet in a ridge.
    rise = (0.85 * (1 - t) ** 2.5 - 0.30 * place * (0.3 + t)) * 1.0
    direction = along + across * rise[:, None]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = rng.uniform(0.55, 0.95, look.hairs) * (0.75 + 0.4 * np.sin(np.pi * t))
    steps = np.linspace(0, 1, 4)
    xy = start[:, None] + direction[:, None] * (length[:, None] * steps)[..., None]
    xy = xy + along[:, None] * (0.12 * length[:, None] * steps**2)[..., None]
    flat = xy.reshape(-1, 2)
    on = front(field, side * flat[:, 0], flat[:, 1]).reshape(len(t), 4, 3)
    on[..., 2] += 0.10 + 0.10 * np.sin(np.pi * steps)
    facing = np.broadcast_to([0.0, 0.0, 1.0], on.shape)
    tone = np.asarray(linear(look.colour)) * rng.uniform(0.75, 1.25, (look.hairs, 1))
    return tapered(on, 0.15, facing, tone, Material.LASH, 0.3)


def beard(look: BeardLook, head: HeadShape, field: Field, seed: int) -> Mesh:
    """Locks over jaw and chin, and a moustache."""
    rng = np.random.default_rng([seed, 8])
    # evenly over the head as seen from its middle, so that the jaw's sides are as full as its front
    plane = np.stack(
        [rng.uniform(-1.5, 1.5, look.count * 8), rng.uniform(-1.5, 0.3, look.count * 8)], 1
    )
    out = from_plane(plane)
    on = cast(field, np.broadcast_to(CENTRE, out.shape), out, 18.0)
    keep = bearded(np.abs(on[:, 0]), on[:, 1], head, look.reach) > rng.uniform(0.25, 0.9, len(on))
    on = on[keep & (on[:, 2] > 0.2)][: look.count]
    x, y, z = on.T
    low = np.clip((head.mouth_y + 1.5 - y) / 4.0, 0.0, 1.0)
    length = (
        look.length
        * rng.uniform(0.75, 1.2, len(x))
        * (0.55 + 0.75 * low)
        * np.clip(z / 4.0, 0.45, 1.0)
    )
    out = on - np.array([0.0, -2.0, -1.5])
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    # along the jaw at the sides, down and to the middle on the chin
    fall = np.stack([-0.16 * x * low / head.jaw, -np.ones(len(x)), 0.35 * (1 - low)], 1)
    fall += rng.normal(0, 0.13, fall.shape)
    fall -= 0.8 * np.sum(fall * out, 1, keepdims=True) * out
    steps = np.linspace(0, 1, 5)
    arch = 0.10 + 0.30 * np.sin(0.6 * np.pi * steps)
    paths = (
        on[:, None]
        + fall[:, None] * (length[:, None] * steps)[..., None]
        + out[:, None] * (length[:, None] * arch)[..., None]
    )
    s, m = np.sign(rng.random(look.moustache) - 0.5), look.moustache
    mx = s * (0.10 + 2.4 * rng.random(m) ** 0.9)
    m_y = head.mouth_y + 1.30 - 0.16 * np.abs(mx) + rng.uniform(-0.25, 0.16, m)
    start = front(field, mx, m_y)
    run = np.stack([s * (0.50 + 0.2 * np.abs(mx)), -0.55 - 0.14 * np.abs(mx), 0 * mx], 1)
    size = rng.uniform(0.65, 0.95, m)
    lip_paths = start[:, None] + run[:, None] * (size[:, None] * steps)[..., None]
    lip_paths[..., 2] += 0.40 * np.sin(np.pi * 0.75 * steps) + 0.12
    # the moustache bends back with the muzzle
    lip_paths[..., 2] -= 0.055 * (lip_paths[..., 0] ** 2 - (start[:, None, 0]) ** 2)
    every = np.concatenate([paths, lip_paths])
    facing = np.concatenate(
        [np.repeat(out[:, None], 5, 1), np.broadcast_to([0, 0.3, 1.0], lip_paths.shape)]
    )
    tone = np.asarray(linear(look.colour)) * rng.uniform(0.65, 1.15, (len(every), 1))
    width = look.width * rng.uniform(0.8, 1.5, len(every))
    width[len(paths) :] *= 1.35
    return tapered(every, width, facing, tone, Material.HAIR, 0.4)


def bearded(ax: Floats, y: Floats, head: HeadShape, reach: float) -> Floats:
    """How thickly a beard grows at |x|, y: 0 to 1."""
    my = head.mouth_y
    # from the sideburns along the jaw, dipping under the cheeks, full around the mouth
    edge = my + 1.0 + 4.6 * np.clip((ax - 3.2) / 2.9, 0, 1) ** 1.7
    inside = np.clip((edge - y) / 0.8, 0.0, 1.0)
    lips = np.clip(np.hypot(ax / 2.9, (y - my + 0.25) / 1.45) * 3.2 - 2.6, 0.0, 1.0)
    sides = np.clip(((3.4 + 4.0 * reach) - ax) / 0.6, 0.0, 1.0)
    return inside * lips * sides


class Lashes:
    """The upper lash line of one eye: a band that grows towards the outer corner, and lashes."""

    def __init__(self, lids: Lids, length: float, colour: tuple[float, float, float]) -> None:
        self._lids, self._length = lids, length
        self._half = len(lids.across) // 2
        self._index = np.linspace(1, 0.62 * self._half, 11)
        points, facing, self._triangles = self._shape(lids.rings(*REST), 0.0)
        normals = np.broadcast_to(f32([0, 0.3, 0.95]), points.shape)
        self.mesh = Mesh(
            points,
            self._triangles,
            Material.LASH,
            f32(colour),
            normals=np.array(normals),
            two_sided=True,
            casts=False,
        )

    def place(self, rings: Floats, blink: float) -> NDArray[np.float32]:
        return self._shape(rings, blink)[0]

    def _shape(
        self, rings: Floats, blink: float
    ) -> tuple[NDArray[np.float32], Floats, NDArray[np.int32]]:
        """Points and triangles; the rim's ring is rings[2]."""
        half, lids = self._half, self._lids
        rim = rings[2, : half + 1]
        out = rim - lids.centre
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        t = np.arange(half + 1) / half  # 0 at the outer corner
        away = np.zeros_like(rim)
        away[:, 0] = lids.side
        up = np.array([0.0, 1.0, 0.0]) * (1.0 - 1.3 * blink)
        tall = (
            self._length
            * (0.07 + 0.13 * (1 - t) ** 1.2)
            * np.sin(np.pi * np.clip(t * 0.93 + 0.07, 0, 1)) ** 0.4
        )
        band = [
            rim - 0.03 * up + 0.03 * out,
            rim + 0.13 * out + tall[:, None] * up + 0.1 * tall[:, None] * away,
        ]
        points = np.concatenate(band)
        count = half + 1
        index = np.arange(half)
        triangles: list[NDArray[np.signedinteger]] = [
            np.stack([index, index + 1, index + count], 1),
            np.stack([index + 1, index + count + 1, index + count], 1),
        ]
        at = self._index
        low = np.floor(at).astype(int)
        root = rim[low] + (rim[low + 1] - rim[low]) * (at - low)[:, None]
        outward = out[low]
        s = at / half
        size = self._length * (0.20 + 0.34 * np.clip(1.0 - 1.25 * s, 0, 1))
        fan = np.array([1.0, 0.0, 0.0]) * lids.side
        lash = (
            outward[:, None] * 0.55 * np.linspace(0, 1, 4)[None, :, None]
            + fan * (1.15 * (0.62 - s))[:, None, None] * np.linspace(0, 1, 4)[None, :, None]
            + up * 0.95 * (np.linspace(0, 1, 4) ** 1.6)[None, :, None]
        )
        paths = root[:, None] + size[:, None, None] * lash
        flat = tapered(
            paths,
            0.15,
            np.broadcast_to(np.array([0.0, 0.2, 1.0]), paths.shape),
            np.zeros((len(paths), 3)),
            Material.LASH,
            0.0,
        )
        triangles.append(flat.triangles + len(points))
        both = np.concatenate([points, flat.points]).astype(np.float32)
        return both, out, np.concatenate(triangles).astype(np.int32)
