"""The skin's triangles: a net over the head, with holes where rings of lids and lips go in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay  # type: ignore[import-untyped]  # scipy has no stubs

from training.portrait.sdf import Field, Points, cast, front
from training.portrait.shape import CENTRE

Plane = NDArray[np.float64]
Ints = NDArray[np.int32]

_REACH = 17.0
_FINE, _COARSE = 0.030, 0.075
"""Distance of neighbours in radians, seen from the head's centre."""
_FINE_RADIUS, _EDGE = 1.0, 2.35


def to_plane(points: Points) -> Plane:
    """Azimuthal equidistant map around the head's front: (N, 3) to (N, 2), in radians."""
    d = points - CENTRE
    d = d / np.linalg.norm(d, axis=1, keepdims=True)
    angle = np.arccos(np.clip(d[:, 2], -1.0, 1.0))
    return d[:, :2] * (angle / np.maximum(np.sin(angle), 1e-9))[:, None]


def from_plane(plane: Plane) -> Points:
    """Directions (N, 3) of places on the map."""
    angle = np.linalg.norm(plane, axis=1)
    flat = plane * (np.sin(angle) / np.maximum(angle, 1e-9))[:, None]
    return np.concatenate([flat, np.cos(angle)[:, None]], axis=1)


@dataclass(frozen=True)
class Net:
    """Skin outside the holes.

    `points` begin with the holes' edges, one after the other, each in the order given.
    """

    points: Points
    triangles: Ints
    edges: tuple[Ints, ...]


def weave(field: Field, holes: list[Plane]) -> Net:
    """A net around holes given by their frontal outlines, each (M, 2) of x, y."""
    rims = [front(field, hole[:, 0], hole[:, 1]) for hole in holes]
    outlines = [to_plane(rim) for rim in rims]
    lattice = np.concatenate(
        [_lattice(_FINE, 0.0, _FINE_RADIUS), _lattice(_COARSE, _FINE_RADIUS + 0.04, _EDGE)]
    )
    for outline in outlines:
        lattice = lattice[~_within(lattice, outline) & ~_near(lattice, outline)]
    flat = np.concatenate([*outlines, lattice])
    triangles = Delaunay(flat).simplices.astype(np.int32)
    middles = flat[triangles].mean(axis=1)
    for outline in outlines:
        triangles = triangles[~_within(middles, outline)]
        middles = flat[triangles].mean(axis=1)
    corners = flat[triangles]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    triangles = triangles[np.abs(area) > 1e-7]  # slivers along the border, far behind
    skin = cast(field, np.broadcast_to(CENTRE, (len(lattice), 3)), from_plane(lattice), _REACH)
    points = np.concatenate([*rims, skin])
    relax(field, points, triangles, num_fixed=len(points) - len(skin))
    starts = np.cumsum([0, *(len(rim) for rim in rims)])
    edges = tuple(np.arange(a, b, dtype=np.int32) for a, b in zip(starts, starts[1:], strict=False))
    return Net(points, triangles, edges)


def relax(field: Field, points: Points, triangles: Ints, num_fixed: int, rounds: int = 8) -> None:
    """Even out the net in place: each point to its neighbours' middle, then back to the surface.

    Rays meet the sides of a nose at a slant and leave long triangles there.
    """
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    degree = np.bincount(pairs[:, 0], minlength=len(points))[:, None]
    # The net's outer border would shrink.
    free = (np.arange(len(points)) >= num_fixed) & (points[:, 2] > 1.0)
    for _ in range(rounds):
        total = np.zeros_like(points)
        np.add.at(total, pairs[:, 0], points[pairs[:, 1]])
        p = points[free] + 0.6 * (total / np.maximum(degree, 1) - points)[free]
        for _ in range(2):
            h = 0.01
            slope = np.stack([field(p + h * a) - field(p - h * a) for a in np.eye(3)], 1)
            p = p - field(p)[:, None] * slope / (
                np.linalg.norm(slope, axis=1, keepdims=True) + 1e-9
            )
        points[free] = p


def strip(outer: Ints, inner: Ints) -> Ints:
    """Triangles between two closed rings of equal length that run counter-clockwise."""
    a, b = outer, np.roll(outer, -1)
    c, d = inner, np.roll(inner, -1)
    return np.concatenate([np.stack([a, b, c], 1), np.stack([c, b, d], 1)]).astype(np.int32)


def _lattice(spacing: float, inner: float, outer: float) -> Plane:
    rows = int(2 * outer / (spacing * 0.866)) + 2
    columns = int(2 * outer / spacing) + 2
    row, column = np.mgrid[0:rows, 0:columns]
    x = (column + 0.5 * (row % 2)) * spacing - outer
    y = row * spacing * 0.866 - outer
    points = np.stack([x.ravel(), y.ravel()], 1)
    radius = np.linalg.norm(points, axis=1)
    return points[(radius >= inner) & (radius <= outer)]


def _within(points: Plane, outline: Plane) -> NDArray[np.bool_]:
    """Points inside a polygon."""
    x, y = points[:, 0:1], points[:, 1:2]
    x0, y0 = outline[:, 0], outline[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = (y0 > y) != (y1 > y)
    at = x0 + (y - y0) * (x1 - x0) / np.where(y1 == y0, 1e-12, y1 - y0)
    inside: NDArray[np.bool_] = (np.sum(crosses & (x < at), axis=1) % 2) == 1
    return inside


def _near(points: Plane, outline: Plane) -> NDArray[np.bool_]:
    """Points so near an edge of the polygon that a Delaunay net would not keep the edge."""
    ahead = np.roll(outline, -1, axis=0)
    middles, lengths = 0.5 * (outline + ahead), np.linalg.norm(ahead - outline, axis=1)
    reach = np.maximum(0.62 * lengths, 0.5 * _FINE)
    distance = np.linalg.norm(points[:, None] - middles, axis=2)
    near: NDArray[np.bool_] = (distance < reach).any(axis=1)
    return near
