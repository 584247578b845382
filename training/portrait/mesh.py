"""Triangle meshes: the one form in which every part of a person reaches the renderer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int32]


def f32(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float32)


class Material(IntEnum):
    SKIN = 0
    LIP = 1
    MOUTH = 2
    """Wet and inside: tongue, gums, the cavity."""
    TOOTH = 3
    EYE = 4
    HAIR = 5
    CLOTH = 6
    SMOOTH = 7
    """Plastic, lacquer, metal; `gloss` tells them apart."""
    FUR = 8
    GLOW = 9
    """Shines by itself."""
    LASH = 10


@dataclass
class Mesh:
    """`points` (V, 3) and `triangles` (T, 3), counter-clockwise from outside.

    x to the picture's right, y up, z to the viewer; the eyes lie at y = 0. One unit is about a
    centimetre of a large head.
    """

    points: Floats
    triangles: Indices
    material: Material
    colour: Floats
    """(V, 3) linear RGB."""
    uv: Floats = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    """(V, 2): for skin the place (x, y) at rest; for hair (across, along) a lock."""
    tangents: Floats = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    """(V, 3) direction of hair."""
    normals: Floats = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    """(V, 3) where they are not those of the triangles."""
    gloss: float = 0.0
    head_weight: float | Floats = 1.0
    """1 moves with the head, 0 with the shoulders."""
    two_sided: bool = False
    casts: bool = True
    """Darkens what is near it."""

    def __post_init__(self) -> None:
        count = len(self.points)
        self.points = np.ascontiguousarray(self.points, np.float32)
        self.triangles = np.ascontiguousarray(self.triangles, np.int32)
        self.colour = np.array(np.broadcast_to(self.colour, (count, 3)), np.float32)
        if not len(self.uv):
            self.uv = np.zeros((count, 2), np.float32)
        if not len(self.normals):
            self.normals = normals_of(self.points, self.triangles)
        if not len(self.tangents):
            self.tangents = np.zeros((count, 3), np.float32)
        self.head_weight = np.array(np.broadcast_to(self.head_weight, count), np.float32)


def grid_triangles(rows: int, columns: int, *, closed: bool = False, flip: bool = False) -> Indices:
    """Two triangles a cell of a (rows, columns) lattice; `closed` joins the last column to the
    first.
    """
    row, column = np.mgrid[0 : rows - 1, 0 : columns if closed else columns - 1]
    beside = (column + 1) % columns
    a, b = row * columns + column, row * columns + beside
    c, d = a + columns, b + columns
    one, two = np.stack([a, c, b], -1), np.stack([b, c, d], -1)
    found = np.concatenate([one.reshape(-1, 3), two.reshape(-1, 3)]).astype(np.int32)
    return found[:, ::-1].copy() if flip else found


@njit(cache=True, fastmath=True, error_model="numpy")
def vertex_normals(points: Floats, triangles: Indices, out: Floats) -> None:
    """Area-weighted normals of length 1."""
    out[:] = 0.0
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = (
            points[j, 0] - points[i, 0],
            points[j, 1] - points[i, 1],
            points[j, 2] - points[i, 2],
        )
        bx, by, bz = (
            points[k, 0] - points[i, 0],
            points[k, 1] - points[i, 1],
            points[k, 2] - points[i, 2],
        )
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2) + 1e-12
        out[v, 0] /= length
        out[v, 1] /= length
        out[v, 2] /= length


def normals_of(points: Floats | Doubles, triangles: Indices) -> Floats:
    out = np.empty((len(points), 3), np.float32)
    vertex_normals(np.ascontiguousarray(points, np.float32), triangles, out)
    return out


def frames_along(path: Doubles, normal: ArrayLike) -> tuple[Doubles, Doubles, Doubles]:
    """Tangent, side and normal at each point of a path, turned as little as possible."""
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True) + 1e-9
    normals = np.empty_like(path)
    current = np.asarray(normal, np.float64)
    for i, tangent in enumerate(tangents):
        current = current - (current @ tangent) * tangent
        current = current / (np.linalg.norm(current) + 1e-9)
        normals[i] = current
    return tangents, np.cross(tangents, normals), normals


def tube(
    path: ArrayLike,
    radius: ArrayLike,
    material: Material,
    colour: ArrayLike,
    *,
    sides: int = 8,
    flatness: float = 1.0,
    normal: ArrayLike = (0.0, 0.0, 1.0),
    closed: bool = False,
    gloss: float = 0.0,
    head_weight: float = 1.0,
) -> Mesh:
    """A rod along `path` (N, 3); `flatness` squeezes it along its normal."""
    line = np.asarray(path, np.float64)
    if closed:
        line = np.concatenate([line, line[:1]])
    tangents, across, normals = frames_along(line, normal)
    if closed:
        ahead = line[1] - line[-2]
        tangents[0] = tangents[-1] = ahead / np.linalg.norm(ahead)
    width = np.broadcast_to(np.asarray(radius, np.float64), len(line))[:, None, None]
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = (
        np.cos(angle)[None, :, None] * across[:, None]
        + flatness * np.sin(angle)[None, :, None] * normals[:, None]
    )
    points = (line[:, None] + width * ring).reshape(-1, 3)
    v, u = np.mgrid[0 : len(line), 0:sides]
    return Mesh(
        points.astype(np.float32),
        grid_triangles(len(line), sides, closed=True),
        material,
        np.asarray(colour, np.float32),
        uv=np.stack([u.ravel() / sides, v.ravel() / len(line)], 1).astype(np.float32),
        tangents=np.repeat(tangents, sides, axis=0).astype(np.float32),
        gloss=gloss,
        head_weight=head_weight,
    )


def combined(meshes: Sequence[Mesh]) -> Mesh:
    """Meshes of one material as one."""
    offsets = np.cumsum([0, *(len(m.points) for m in meshes)])
    return Mesh(
        np.concatenate([m.points for m in meshes]),
        np.concatenate([m.triangles + o for m, o in zip(meshes, offsets, strict=False)]),
        meshes[0].material,
        np.concatenate([m.colour for m in meshes]),
        uv=np.concatenate([m.uv for m in meshes]),
        tangents=np.concatenate([m.tangents for m in meshes]),
        normals=np.concatenate([m.normals for m in meshes]),
        gloss=meshes[0].gloss,
        head_weight=np.concatenate([np.asarray(m.head_weight) for m in meshes]),
        two_sided=meshes[0].two_sided,
        casts=meshes[0].casts,
    )
