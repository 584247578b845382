"""A robot: hard shells, and a dark screen on which a face shines."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import REST, Movement, Pose
from training.portrait.look import Colour, Look
from training.portrait.mesh import Material, Mesh, f32, grid_triangles
from training.portrait.shells import robot_body, robot_head, screen_depth, shine

Floats = NDArray[np.float64]

_AROUND, _RINGS = 64, 7
MOUTH_Y, GAIN = -3.6, 3.5


@dataclass(frozen=True)
class _Patch:
    """A shape on the screen: rings of an outline, from its middle out."""

    mesh: Mesh
    lift: float


class Robot:
    """A `Figure`; nothing of it moves but the light on its screen."""

    def __init__(self, look: Look) -> None:
        assert look.robot is not None
        self.look, self.robot = look, look.robot
        light, second = shine(self.robot.light, 1.25), shine(self.robot.second, 0.9)
        dark, white = shine(self.robot.light, 0.10), shine("#f4fbff", 1.1)
        self._patches = [
            _patch(light, 0.06),
            _patch(light, 0.06),  # eyes
            _patch(white, 0.10),
            _patch(white, 0.10),  # their gleam
            _patch(light, 0.06),
            _patch(light, 0.06),  # brows
            _patch(light, 0.06),
            _patch(dark, 0.09),  # mouth: rim and inside
            _patch(second, 0.12),
            _patch(white, 0.14),  # tongue, teeth
        ]
        for patch, points in zip(self._patches, self.move(*REST), strict=True):
            patch.mesh.points[:] = points
        self.meshes = [patch.mesh for patch in self._patches]
        self.num_soft, self.num_moving = 0, len(self.meshes)
        self.borrowed: dict[int, NDArray[np.int64]] = {}
        self.meshes += robot_head(self.robot) + robot_body(self.robot)
        self.materials = [np.full(len(m.triangles), m.material, np.int32) for m in self.meshes]

    def move(self, pose: Pose, movement: Movement) -> list[NDArray[np.float32]]:
        angle = 2 * np.pi * np.arange(_AROUND) / _AROUND
        c, s = np.cos(angle), np.sin(angle)
        shapes: list[Floats] = []
        at_x, at_y = 0.55 * movement.gaze_x, 1.0 - 0.40 * movement.gaze_y
        open_ = max(0.05, 1.0 - movement.blink)
        wide = 1.0 + 0.12 * max(0.0, movement.brow)
        for side in (-1.0, 1.0):
            x = 1.25 * np.sign(c) * np.abs(c) ** 0.8
            y = 1.75 * wide * open_ * np.sign(s) * np.abs(s) ** 0.8
            # a smile lifts the lower edge
            y = np.where(y < 0, y * (1 - 0.75 * pose.smile * (1 - (x / 1.3) ** 2 * 0.6)), y)
            shapes.append(np.stack([side * 2.75 + at_x + x, at_y + y], 1))
        for side in (-1.0, 1.0):
            x, y = 0.34 * c, 0.42 * open_ * s
            shapes.append(
                np.stack([side * 2.75 + 1.4 * at_x - 0.42 + x, at_y + 0.75 * open_ + y], 1)
            )
        for side in (-1.0, 1.0):
            x, y = 1.15 * c, 0.20 * s + 0.16 * (1 - c * c)
            lean = side * x * (0.06 + 0.40 * max(0.0, -movement.brow))
            level = at_y + 2.35 + 0.75 * max(0.0, movement.brow) - 0.35 * max(0.0, -movement.brow)
            shapes.append(np.stack([side * 2.8 + x, level + y + lean], 1))
        shapes += self._mouth(pose, c, s)
        return [
            self._placed(shape, patch.lift)
            for shape, patch in zip(shapes, self._patches, strict=True)
        ]

    def _mouth(self, pose: Pose, c: Floats, s: Floats) -> list[Floats]:
        gap = pose.open * GAIN * (1 - 0.1 * pose.round)
        half = 2.35 * (1 + 0.22 * pose.wide - 0.34 * pose.round + 0.18 * pose.smile)
        bend = (0.30 + 1.1 * pose.smile) * (1 - 0.6 * pose.round) - 0.1 * gap
        power = 0.85 - 0.2 * pose.round
        arch = np.sqrt(np.maximum(0, 1 - c * c)) ** (2 * power)
        y = bend * (np.abs(c) ** 1.8 - 0.35) + np.where(s >= 0, 0.30 * gap, -0.70 * gap) * arch
        inside = np.stack([half * c, MOUTH_Y + y], 1)
        rim = 0.30
        outside = inside + rim * np.stack([c, s], 1)
        middle = inside.mean(axis=0)
        low = -0.70 * gap
        tip = low + (0.34 + 0.45 * pose.tongue) * gap
        squeeze = min(1.0, gap / 0.5)
        tongue = np.stack(
            [
                0.60 * half * c * squeeze,
                MOUTH_Y + low * 0.93 + (tip - low) * 0.5 * (1 + s) * squeeze,
            ],
            1,
        )
        reach = (0.16 + 0.34 * pose.teeth) * gap
        teeth = np.stack(
            [
                0.80 * half * np.sign(c) * np.abs(c) ** 0.35 * squeeze,
                MOUTH_Y
                - 0.35 * bend
                + 0.27 * gap
                - 0.5 * reach * (1 - np.sign(s) * np.abs(s) ** 0.35),
            ],
            1,
        )
        tongue, teeth = (_within(shape, inside, middle) for shape in (tongue, teeth))
        return [outside, inside, tongue, teeth]

    def _placed(self, outline: Floats, lift: float) -> NDArray[np.float32]:
        middle = outline.mean(axis=0)
        share = np.linspace(0.0, 1.0, _RINGS)[:, None, None]
        xy = (middle + (outline - middle) * share).reshape(-1, 2)
        return np.concatenate([xy, screen_depth(xy)[:, None] + lift], 1).astype(np.float32)

    def lit(self, baked: NDArray[np.float32], pose: Pose) -> NDArray[np.float32]:
        return baked

    def eyes(
        self, pose: Pose, movement: Movement, turn: NDArray[np.float64], light: NDArray[np.float32]
    ) -> None:
        """They are drawn on the screen."""


def _within(shape: Floats, outline: Floats, middle: Floats) -> Floats:
    """`shape` pulled inside a star-shaped outline around `middle`."""

    def polar(points: Floats) -> tuple[Floats, Floats]:
        d = points - middle
        return np.arctan2(d[:, 1], d[:, 0]), np.hypot(d[:, 0], d[:, 1])

    angle, radius = polar(outline)
    order = np.argsort(angle)
    own_angle, own = polar(shape)
    limit = np.interp(own_angle, angle[order], radius[order], period=2 * np.pi) * 0.97
    scale = np.minimum(1.0, limit / np.maximum(own, 1e-6))
    return middle + (shape - middle) * scale[:, None]


def _patch(colour: Colour, lift: float) -> _Patch:
    points = np.zeros((_RINGS * _AROUND, 3), np.float32)
    points[:, 0] = np.arange(len(points))
    mesh = Mesh(
        points,
        grid_triangles(_RINGS, _AROUND, closed=True),
        Material.GLOW,
        f32(colour),
        normals=np.tile(f32([0, 0, 1]), (len(points), 1)),
        casts=False,
        two_sided=True,
    )
    return _Patch(mesh, lift)
