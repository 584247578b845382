"""How much sky and key light reaches each point: rays through a box of small cells."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CELL = 0.30
LOW, HIGH = np.array([-17.0, -26.0, -12.0]), np.array([17.0, 18.0, 13.0])


def occupied(points: Floats, triangles: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Cells that triangles pass through, by points spread over each of them."""
    shape = np.ceil((HIGH - LOW) / CELL).astype(int)
    cells = np.zeros(tuple(shape), np.uint8)
    corners = points[triangles].astype(np.float64)
    for a in np.linspace(0, 1, 5):
        for b in np.linspace(0, 1, 5):
            if a + b > 1:
                continue
            at = corners[:, 0] * (1 - a - b) + corners[:, 1] * a + corners[:, 2] * b
            index = np.floor((at - LOW) / CELL).astype(int)
            inside = ((index >= 0) & (index < shape)).all(axis=1)
            cells[tuple(index[inside].T)] = 1
    return cells


def hemisphere(count: int) -> Floats:
    """Directions around +z, as many towards it as a matt surface would see."""
    i = np.arange(count) + 0.5
    radius, turn = np.sqrt(i / count), np.pi * (1 + 5**0.5) * i
    z = np.sqrt(1 - radius**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], 1).astype(np.float32)


def cone(axis: Floats, spread: float, count: int) -> Floats:
    """Directions spread around `axis`, as from a large lamp."""
    disc = hemisphere(count)[:, :2] * spread
    z = axis / np.linalg.norm(axis)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    rays = z + disc[:, :1] * x + disc[:, 1:] * y
    return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


@njit(cache=True, fastmath=True, error_model="numpy")
def _free(
    cells: NDArray[np.uint8],
    x: float,
    y: float,
    z: float,
    dx: float,
    dy: float,
    dz: float,
    start: float,
    reach: float,
) -> float:
    """1 where a ray meets nothing, less the nearer it does."""
    travelled = start
    while travelled < reach:
        i = int((x + dx * travelled - -17.0) / 0.30)
        j = int((y + dy * travelled - -26.0) / 0.30)
        k = int((z + dz * travelled - -12.0) / 0.30)
        if (
            i < 0
            or j < 0
            or k < 0
            or i >= cells.shape[0]
            or j >= cells.shape[1]
            or k >= cells.shape[2]
        ):
            return 1.0
        if cells[i, j, k]:
            return travelled / reach
        travelled += 0.2
    return 1.0


@njit(cache=True, fastmath=True, error_model="numpy")
def open_sky(
    points: Floats,
    normals: Floats,
    cells: NDArray[np.uint8],
    rays: Floats,
    reach: float,
    out: Floats,
) -> None:
    """Share of the half-space over each point that is open, near obstacles counting most."""
    for p in range(points.shape[0]):
        nx, ny, nz = normals[p, 0], normals[p, 1], normals[p, 2]
        # a frame around the normal (Duff et al. 2017)
        sign = 1.0 if nz >= 0 else -1.0
        a = -1.0 / (sign + nz)
        b = nx * ny * a
        ux, uy, uz = 1.0 + sign * nx * nx * a, sign * b, -sign * nx
        wx, wy, wz = b, sign + ny * ny * a, -ny
        total = 0.0
        sx, sy, sz = points[p, 0] + 0.35 * nx, points[p, 1] + 0.35 * ny, points[p, 2] + 0.35 * nz
        for r in range(rays.shape[0]):
            i, j, k = rays[r, 0], rays[r, 1], rays[r, 2]
            total += _free(
                cells,
                sx,
                sy,
                sz,
                ux * i + wx * j + nx * k,
                uy * i + wy * j + ny * k,
                uz * i + wz * j + nz * k,
                0.25,
                reach,
            )
        out[p] = total / rays.shape[0]


@njit(cache=True, fastmath=True, error_model="numpy")
def lamp_seen(
    points: Floats,
    normals: Floats,
    cells: NDArray[np.uint8],
    rays: Floats,
    start: float,
    out: Floats,
) -> None:
    """Share of a lamp's rays (all nearly parallel) that reach each point."""
    for p in range(points.shape[0]):
        total = 0.0
        sx = points[p, 0] + 0.45 * normals[p, 0]
        sy = points[p, 1] + 0.45 * normals[p, 1]
        sz = points[p, 2] + 0.45 * normals[p, 2]
        for r in range(rays.shape[0]):
            free = _free(cells, sx, sy, sz, rays[r, 0], rays[r, 1], rays[r, 2], start, 22.0)
            total += 1.0 if free >= 1.0 else 0.0
        out[p] = total / rays.shape[0]


@njit(cache=True, error_model="numpy")
def smoothed(values: Floats, triangles: NDArray[np.int32], rounds: int) -> Floats:
    """Each value replaced by the mean of itself and its neighbours, `rounds` times."""
    for _ in range(rounds):
        total, count = values.copy(), np.ones(len(values), np.float32)
        for t in range(triangles.shape[0]):
            for e in range(3):
                i, j = triangles[t, e], triangles[t, (e + 1) % 3]
                total[i] += values[j]
                count[i] += 1
                total[j] += values[i]
                count[j] += 1
        values = total / count
    return values
