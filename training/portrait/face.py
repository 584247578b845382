"""The skin of a face: one net of points that a mouth shape and ten controls move."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.portrait import lids, lips
from training.portrait.action import REST, Movement, Pose
from training.portrait.fields import amounts, displacements
from training.portrait.lids import EyeShape, Lids
from training.portrait.lips import Lips, LipShape, muzzle_fit
from training.portrait.mesh import Material
from training.portrait.sdf import Field, front
from training.portrait.shape import HeadShape
from training.portrait.topology import strip, weave

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Ring:
    """A family of nested rings in a hole of the skin, from outside in."""

    outside: Ints
    """(K, M) indices of the skin rings that follow, outermost first."""
    inside: Ints
    """(L, M) indices of the formula's rings, outermost first."""
    follow: Floats
    """(K,) how much each outside ring follows the outermost formula ring."""
    rest: Floats
    """(M, 3) where that ring would lie on the bare skin."""
    edge: Ints
    """(M,) indices of the hole's edge."""
    leaving: Floats | None = None
    """(M, 3) how the skin runs into the hole at its edge; None: rings follow by `follow`."""


class Face:
    def __init__(self, field: Field, head: HeadShape, eyes: EyeShape, mouth: LipShape) -> None:
        self.field, self.eyes = field, eyes
        fitted = front(field, *_around_mouth(head.mouth_y, mouth.width + 0.9))
        self.lips = Lips(mouth, head.mouth_y, muzzle_fit(fitted, head.mouth_y))
        self.lids = {side: Lids(eyes, side) for side in (-1, 1)}
        holes = [_eye_hole(eyes, -1), _eye_hole(eyes, 1), _mouth_hole(self.lips, head.mouth_y)]
        net = weave(field, holes)
        self._points, self._triangles = [net.points], [net.triangles]
        self._materials = [np.full(len(net.triangles), Material.SKIN)]
        self._count = len(net.points)
        self.eye_rings = {
            side: self._add_eye(side, edge, hole)
            for side, edge, hole in zip((-1, 1), net.edges, holes, strict=False)
        }
        self.mouth_ring = self._add_mouth(net.edges[2], holes[2])
        self._base = np.concatenate(self._points)
        self.triangles: Ints = np.concatenate(self._triangles)
        self.materials = np.concatenate(self._materials).astype(np.int32)
        self.moves = displacements(self._base, head)
        self.rest = self.place(*REST)

    def place(self, pose: Pose, movement: Movement) -> Floats:
        """(V, 3) of every point of the skin."""
        shown = amounts(self.lips.jaw_drop(pose), pose, movement)
        points = self._base + np.tensordot(shown, self.moves, 1)
        for side, ring in self.eye_rings.items():
            rings = self.lids[side].rings(pose, movement)
            self._put(points, ring, rings[::-1])
        self._put(points, self.mouth_ring, self.lips.rings(pose)[::-1])
        return points

    def _put(self, points: Floats, ring: Ring, rings: Floats) -> None:
        points[ring.inside] = rings
        if ring.leaving is not None:
            _bridge(points, ring, rings)
            return
        moved = rings[0] - ring.rest
        bare = self._base[ring.outside]
        # A following ring obeys its border as far as it follows it, and the fields for the rest.
        follow = ring.follow[:, None, None]
        points[ring.outside] = bare + (1 - follow) * (points[ring.outside] - bare) + follow * moved

    def _add_eye(self, side: int, edge: Ints, hole: Floats) -> Ring:
        rings = self.lids[side].rings(*REST)[::-1]
        return self._add(edge, hole, rings, np.array(lids.OUTSIDE)[::-1], Material.SKIN, side < 0)

    def _add_mouth(self, edge: Ints, hole: Floats) -> Ring:
        rings = self.lips.rings(Pose())[::-1]
        return self._add(edge, hole, rings, np.array(lips.OUTSIDE)[::-1], Material.LIP, False)

    def _add(
        self,
        edge: Ints,
        hole: Floats,
        rings: Floats,
        follow: Floats,
        inside: Material,
        mirrored: bool,
    ) -> Ring:
        """Rings between a hole's edge and the formula's rings (L, M, 3), outermost first."""
        border = rings[0]
        num_around, num_outside = len(border), len(follow)
        skin = front(self.field, border[:, 0], border[:, 1])
        between = []
        for k in range(num_outside):
            t = (k + 1) / (num_outside + 1)
            t = t**0.85
            xy = hole + (border[:, :2] - hole) * t
            between.append(front(self.field, xy[:, 0], xy[:, 1]))
        index = self._count + np.arange((num_outside + len(rings)) * num_around)
        table = index.reshape(-1, num_around).astype(np.int32)
        self._points.append(np.concatenate([np.concatenate(between), rings.reshape(-1, 3)]))
        self._count += len(index)
        chain = [edge, *table]
        for k, (outer, inner) in enumerate(zip(chain, chain[1:], strict=False)):
            if mirrored:
                outer, inner = outer[::-1], inner[::-1]
            new = strip(outer, inner)
            material = Material.SKIN
            if k > num_outside:
                material = inside
            if inside == Material.LIP and k >= num_outside + lips.LIP_RINGS:
                material = Material.MOUTH
            self._triangles.append(new)
            self._materials.append(np.full(len(new), material))
        leaving = None
        if inside == Material.SKIN:
            middle = hole.mean(axis=0)
            nearer = hole + 0.06 * (middle - hole)
            step = front(self.field, nearer[:, 0], nearer[:, 1]) - front(
                self.field, hole[:, 0], hole[:, 1]
            )
            leaving = step / np.linalg.norm(step, axis=1, keepdims=True)
        return Ring(table[:num_outside], table[num_outside:], follow, skin, edge, leaving)


def _bridge(points: Floats, ring: Ring, rings: Floats) -> None:
    """Outside rings on cubics from the skin, along its surface, to the lids' fold."""
    assert ring.leaving is not None
    start, end = points[ring.edge], rings[0]
    span = np.linalg.norm(end - start, axis=1, keepdims=True)
    arrive = rings[1] - rings[0]
    arrive = arrive / (np.linalg.norm(arrive, axis=1, keepdims=True) + 1e-9)
    count = len(ring.outside)
    for k in range(count):
        t = (k + 1) / (count + 1)
        a, b = (1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2
        c, d = t * t * (3 - 2 * t), t * t * (t - 1)
        points[ring.outside[k]] = (
            a * start + b * span * ring.leaving + c * end + 0.6 * d * span * arrive
        )


def _around_mouth(mouth_y: float, half: float) -> tuple[Floats, Floats]:
    x, y = np.meshgrid(np.linspace(-half, half, 21), np.linspace(-1.5, 1.1, 9))
    return x.ravel(), y.ravel() + mouth_y


def _eye_hole(eyes: EyeShape, side: int) -> Floats:
    angle = 2 * np.pi * np.arange(lids.NUM_AROUND) / lids.NUM_AROUND
    across, up = np.cos(angle), np.sin(angle)
    rim = Lids(eyes, 1).rings(*REST)[-1][:, :2] - np.array([eyes.x, eyes.y])
    (left, low), (right, high) = rim.min(axis=0), rim.max(axis=0)
    x = eyes.x + across * np.where(across > 0, right + 0.28, 0.18 - left)
    y = eyes.y + up * np.where(up > 0, high + 0.75, 0.85 - low)
    return np.stack([side * x, y], 1)


def _mouth_hole(shape: Lips, mouth_y: float) -> Floats:
    angle = 2 * np.pi * np.arange(lips.NUM_AROUND) / lips.NUM_AROUND
    across, up = np.cos(angle), np.sin(angle)
    x = (shape.shape.width + 1.5) * across
    y = mouth_y + np.where(up > 0, 1.75, 2.55) * up
    return np.stack([x, y], 1)
