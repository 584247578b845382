"""The eyelids: rings of points that slide over the eyeball."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import REST, Movement, Pose

Floats = NDArray[np.float64]

NUM_AROUND = 56
"""Points a ring: from the outer corner over the upper lid to the inner one and back below."""

LID_RINGS = 8
"""Inside rim, rim, edge, three on the lid, fold, and the skin over the fold."""
OUTSIDE = (0.8, 0.6, 0.4, 0.2)
"""Rings of skin between the lids and the edge of their hole."""


@dataclass(frozen=True)
class EyeShape:
    """Angles in radians on the eyeball, lengths in units."""

    x: float = 3.15
    y: float = 0.0
    z: float = 3.95
    radius: float = 2.45
    inner: float = 0.72
    outer: float = 0.76
    """From the middle to each corner."""
    upper: float = 0.44
    lower: float = 0.36
    slant: float = 0.07
    """How much higher the outer corner lies."""
    fold: float = 0.17
    """Height of the lid's fold over its rim; the visible part of an open lid."""
    fold_depth: float = 0.16
    iris: float = 0.455
    """Radius of the iris as an angle."""
    hood: float = 0.40
    """How far the skin over the fold stands out."""
    pouch: float = 0.42
    """How far the skin under the lower lid does."""


class Lids:
    """One eye's lids; `side` is -1 for the picture's left."""

    def __init__(self, shape: EyeShape, side: int) -> None:
        self.shape, self.side = shape, side
        self.centre = np.array([side * shape.x, shape.y, shape.z])
        half = NUM_AROUND // 2
        t = np.concatenate([np.arange(half) / half, 1 - np.arange(half) / half])
        self._upper = np.arange(NUM_AROUND) <= half
        self._upper[0] = self._upper[half] = True
        # t runs from the outer (0) to the inner (1) corner
        self._t = t
        self.across = self._across = np.cos(np.pi * t)  # 1 outer, -1 inner; denser at the corners
        self._arch = np.sqrt(np.maximum(0.0, 1 - self._across**2))

    def heights(self, pose: Pose, movement: Movement) -> tuple[Floats, Floats]:
        """Angles of the upper and the lower lid over each of the ring's places."""
        s, c = self.shape, self._across
        blink, smile = movement.blink, pose.smile
        wide, look_up = max(0.0, movement.brow), -movement.gaze_y
        lean_up, lean_low = 1 - 0.14 * c - 0.06 * c * c, 1 + 0.16 * c
        slant = s.slant * c
        open_up = s.upper * (1 + 0.16 * wide) + 0.10 * look_up - 0.04 * smile
        upper = slant + open_up * self._arch**0.85 * lean_up
        low = s.lower * (1 - 0.26 * smile - 0.15 * blink) - 0.06 * look_up
        lower = slant - low * self._arch**0.95 * lean_low
        shut = lower + 0.02
        return upper + (shut - upper) * blink, lower

    def rings(self, pose: Pose, movement: Movement) -> Floats:
        """(LID_RINGS, NUM_AROUND, 3), from inside out."""
        s, blink, smile = self.shape, movement.blink, pose.smile
        upper, lower = self.heights(pose, movement)
        rim = np.where(self._upper, upper, lower)
        open_rim = self.heights(*REST)
        fold_up = open_rim[0] + s.fold * (0.45 + 0.55 * self._arch) - 0.05 * blink
        fold_up = np.maximum(fold_up, upper + 0.05)
        fold_low = lower - 0.13 * self._arch - 0.05
        fold = np.where(self._upper, fold_up, fold_low)
        outward = np.where(self._upper, 1.0, -1.0)
        over = fold + outward * (0.10 + 0.05 * self._arch)
        angles = [
            rim - outward * 0.01,
            rim,
            rim + outward * 0.018,
            rim + (fold - rim) * 0.28,
            rim + (fold - rim) * 0.60,
            rim + (fold - rim) * 0.86,
            fold + outward * 0.01,
            over,
        ]
        high, low = self._upper_relief(blink), self._lower_relief(smile)
        spreads = (0.0, 0.0, 0.006, 0.02, 0.035, 0.045, 0.055, 0.13)
        return np.stack(
            [
                self._at(angle, np.where(self._upper, above, below), spread)
                for angle, above, below, spread in zip(angles, high, low, spreads, strict=True)
            ]
        )

    def _upper_relief(self, blink: float) -> list[Floats]:
        """Heights over the ball, from inside out: rim, lid, fold, and the skin over it."""
        s, a = self.shape, self._arch
        thick, depth = 0.03 + 0.08 * a, s.fold_depth * (1 - 0.75 * blink) * a
        return [
            0 * a - 0.05,
            0 * a + 0.05,
            thick,
            thick + 0.035,
            thick + 0.02,
            np.maximum(thick - 0.3 * depth, 0.03),
            np.maximum(thick - depth, 0.02),
            thick + s.hood * a,
        ]

    def _lower_relief(self, smile: float) -> list[Floats]:
        """The lower lid leaves the ball soon, and rises to meet the cheek."""
        a = self._arch * (1 + 0.25 * smile)
        full = self.shape.pouch
        rise = (0.07, 0.08 + 0.06 * full, 0.26 * full, 0.38 * full, 0.55 * full, full)
        return [0 * a - 0.05, 0 * a + 0.05, *(0.03 + r * a for r in rise)]

    def _at(self, angle: Floats, height: float | Floats, spread: float) -> Floats:
        s = self.shape
        turn = self._across * np.where(self._across > 0, s.outer, s.inner)
        # beside the nose there is less room
        turn = turn * (1 + spread * np.where(self._across < 0, 0.35, 0.75))
        direction = np.stack(
            [self.side * np.sin(turn) * np.cos(angle), np.sin(angle), np.cos(turn) * np.cos(angle)],
            1,
        )
        # Towards its corners the opening is flatter than the ball.
        flat = np.abs(self._across) ** 6
        radius = s.radius + height
        points = self.centre + direction * np.asarray(radius)[..., None]
        points[:, 2] += 0.18 * flat * s.radius * 0.5
        return points
