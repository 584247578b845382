"""What an open mouth shows: two rows of teeth and the tongue."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import Pose
from training.portrait.lips import Lips
from training.portrait.mesh import Material, Mesh, f32, grid_triangles

Floats = NDArray[np.float64]

_TOOTH_WIDTHS = np.array([0.66, 0.54, 0.56, 0.50, 0.52, 0.55])
_ROWS, _STEPS = 6, 7


@dataclass(frozen=True)
class Oral:
    """The meshes at rest; `place` moves their points."""

    upper: Mesh
    lower: Mesh
    tongue: Mesh
    lips: Lips

    def place(self, pose: Pose) -> list[NDArray[np.float32]]:
        """Points of upper teeth, lower teeth and tongue, in this order."""
        drop = self.lips.jaw_drop(pose)
        upper = self.upper.points + f32([0, 0.06 - 0.22 * pose.teeth, 0])
        lift = 0.16 * pose.teeth - drop
        # The jaw swings back as it drops, and the lips with it.
        back = min(-0.12 * drop, self.lips.recession(-0.73 * self.lips.gap(pose)))
        lower = self.lower.points + f32([0, lift, back])
        return [upper, lower, self._tongue(pose, drop)]

    def _tongue(self, pose: Pose, drop: float) -> NDArray[np.float32]:
        u, v = self.tongue.uv[:, 0] * 2 - 1, self.tongue.uv[:, 1]
        front, y = float(self.lips.muzzle[0]), self.lips.mouth_y
        up = pose.tongue
        floor = y - 0.80 - 0.66 * drop
        tip_y = floor + up * (y + 0.12 - 0.28 * drop - floor)
        tip_z = front - 1.75 + 2.05 * up * up * max(0.0, 1 - 1.3 * pose.open)
        width = (
            0.63
            * self.lips.shape.width
            * (1 - 0.25 * pose.round)
            * np.sqrt(np.maximum(0.0, 1 - (v * 0.97) ** 5))
        )
        width = width * (1 - 0.18 * up * v)
        x = u * width
        z = front - 6.0 + (tip_z - front + 6.0) * v
        body = floor - 0.2 + 0.45 * np.sin(np.pi * np.minimum(v, 1.0)) * (1 - 0.3 * up)
        height = body + (tip_y - body) * v**2.2
        round_ = -0.42 * u**2 - 0.14 * np.exp(-((u / 0.16) ** 2)) * (1 - v**6)
        tuck = -0.45 * np.maximum(0.0, (v - 0.90) / 0.10) ** 2
        return np.stack([x, height + round_ + tuck, z], 1).astype(np.float32)


def build_oral(lips: Lips, tooth: tuple[float, float, float] = (0.92, 0.89, 0.82)) -> Oral:
    front, y = float(lips.muzzle[0]), lips.mouth_y
    size = lips.shape.width / 2.8
    upper = _teeth(front - 0.62, y + 1.25, y - 0.10, tooth, size, upper=True)
    lower = _teeth(front - 0.92, y - 1.35, y - 0.28, tooth, 0.78 * size, upper=False)
    v, u = np.mgrid[0:15, 0:13]
    tongue = Mesh(
        np.zeros((15 * 13, 3), np.float32),
        grid_triangles(15, 13, flip=False),
        Material.MOUTH,
        f32([0.66, 0.27, 0.27]),
        uv=np.stack([u.ravel() / 12, v.ravel() / 14], 1).astype(np.float32),
        two_sided=True,
        casts=False,
    )
    oral = Oral(upper, lower, tongue, lips)
    tongue.points[:] = oral._tongue(Pose(), 0.0)
    return oral


def _teeth(
    front: float,
    gum: float,
    edge: float,
    colour: tuple[float, float, float],
    scale: float,
    *,
    upper: bool,
) -> Mesh:
    """A row of teeth on an arch, from the gum to the biting edge."""
    half = np.concatenate([[0.0], np.cumsum(_TOOTH_WIDTHS * scale)])
    borders = np.concatenate([-half[:0:-1], half])
    s: list[Floats] = []
    phase: list[Floats] = []
    for a, b in zip(borders, borders[1:], strict=False):
        t = np.linspace(0.03, 0.97, _STEPS)
        s.append(a + (b - a) * t)
        phase.append(t)
    along, within = np.concatenate(s), np.concatenate(phase)
    turn = along / (2.25 * scale)
    x, z = 2.25 * scale * np.sin(turn) * 1.02, front - 2.0 * scale * (1 - np.cos(turn))
    bulge = 0.10 * np.sqrt(np.maximum(0.0, 1 - (2 * within - 1) ** 2))
    notch = 0.06 * np.abs(2 * within - 1) ** 4
    shorter = 0.05 * np.minimum(np.abs(along) / 2.0, 1.0) ** 2 * abs(edge - gum)
    points: list[Floats] = []
    shade: list[Floats] = []
    for t in np.linspace(0.0, 1.0, _ROWS):
        inward = 0.16 * t**3 - 0.05 * np.sin(np.pi * t)
        direction = 1.0 if upper else -1.0
        y = gum + (edge - gum) * t + direction * (notch + shorter) * t**2
        points.append(np.stack([x, y, z + bulge * (0.4 + 0.6 * t) - inward], 1))
        groove = 1 - 0.22 * np.abs(2 * within - 1) ** 7
        depth = np.clip(1.0 - np.abs(turn) / 1.5, 0.16, 1.0) ** 0.8
        tint = np.asarray(colour)[None] * (groove * depth)[:, None]
        gums = np.array([0.62, 0.26, 0.25])[None] * depth[:, None]
        shade.append(tint if t > 0.3 else gums)
    if not upper:
        points, shade = points[::-1], shade[::-1]
    return Mesh(
        np.concatenate(points).astype(np.float32),
        grid_triangles(_ROWS, along.size),
        Material.TOOTH,
        np.concatenate(shade).astype(np.float32),
        casts=False,
        two_sided=True,
    )
