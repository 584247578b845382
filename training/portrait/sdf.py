"""Signed distances of soft round shapes, and rays that find their surface."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Distances = NDArray[np.float64]
Field = Callable[[Points], Distances]
"""(N, 3) points to (N,) distances, negative inside."""


def ellipsoid(p: Points, centre: ArrayLike, radii: ArrayLike) -> Distances:
    """Approximate distance (exact on the surface), after Inigo Quilez."""
    q, r = p - np.asarray(centre), np.asarray(radii, np.float64)
    near = _length(q / r)
    slope = _length(q / (r * r))
    return near * (near - 1.0) / np.maximum(slope, 1e-9)


def sphere(p: Points, centre: ArrayLike, radius: float) -> Distances:
    return _length(p - np.asarray(centre)) - radius


def capsule(
    p: Points, start: ArrayLike, end: ArrayLike, start_radius: float, end_radius: float
) -> Distances:
    """A rod between two points whose radius changes evenly."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    along = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    radius = start_radius + (end_radius - start_radius) * along
    return _length(p - a - along[:, None] * (b - a)) - radius


def rounded_box(p: Points, centre: ArrayLike, half: ArrayLike, radius: float) -> Distances:
    q = np.abs(p - np.asarray(centre)) - np.asarray(half, np.float64) + radius
    outside = _length(np.maximum(q, 0.0))
    return outside + np.minimum(q.max(axis=1), 0.0) - radius


def join(a: Distances, b: Distances, k: float) -> Distances:
    """Union whose seam is filled over a width of about `k`."""
    h = np.maximum(k - np.abs(a - b), 0.0) / k
    return np.minimum(a, b) - h * h * h * k / 6.0


def carve(a: Distances, b: Distances, k: float) -> Distances:
    """`a` without `b`, with a soft edge."""
    return -join(-a, b, k)


def cast(field: Field, origins: Points, directions: Points, reach: float) -> Points:
    """Where rays that start inside leave the shape for the last time within `reach`.

    Marches back from the far end, so that a shape with folds gives its outer surface.
    """
    travelled = np.full(len(origins), reach)
    for _ in range(64):
        distance = field(origins + travelled[:, None] * directions)
        travelled = np.maximum(travelled - 0.8 * distance, 0.0)
        if np.abs(distance).max(initial=0.0) < 1e-4:
            break
    return origins + travelled[:, None] * directions


def front(field: Field, x: ArrayLike, y: ArrayLike, from_z: float = 20.0) -> Points:
    """Points of the surface, seen from the front at (x, y); (N, 3)."""
    start = np.stack([np.asarray(x), np.asarray(y), np.full(np.shape(x), 0.0)], axis=1)
    return cast(field, start, np.broadcast_to([0.0, 0.0, 1.0], start.shape), from_z)


def _length(vectors: Points) -> Distances:
    # numpy's own norm takes three times as long for rows of three
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))
