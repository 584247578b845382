"""The lips: closed rings of points whose place is a formula of the mouth's shape."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import Pose

Floats = NDArray[np.float64]

NUM_AROUND = 72
"""Points a ring, counter-clockwise from the right corner of the picture."""

INSIDE_RINGS = 6
LIP_RINGS = 6
"""From the wet line, where the lips touch, to the red's border."""
OUTSIDE = (0.80, 0.58, 0.36, 0.16)
"""How much of the border's movement each ring of skin around the lips follows."""


@dataclass(frozen=True)
class LipShape:
    """Lengths in units; half of a width."""

    width: float = 2.8
    upper: float = 0.76
    lower: float = 0.92
    bow: float = 1.0
    """Depth of the notch in the upper lip."""
    fullness: float = 1.0
    gain: float = 3.5
    """Distance of the lips at open = 1."""
    corner: float = 0.10


class Lips:
    """Lips on a muzzle, z = a + b dy + c x² + d dy² + e x⁴ around the mouth's middle."""

    def __init__(self, shape: LipShape, mouth_y: float, muzzle: Floats) -> None:
        self.shape, self.mouth_y, self.muzzle = shape, mouth_y, muzzle
        angle = 2 * np.pi * np.arange(NUM_AROUND) / NUM_AROUND
        self._angle = angle
        self._cos, self._upper = np.cos(angle), np.sin(angle) >= -1e-9
        self._across = np.sqrt(np.maximum(0.0, 1.0 - self._cos**2))
        self.rest = self.rings(Pose())[-1]

    def gap(self, pose: Pose) -> float:
        """Distance between the lips in the middle."""
        return pose.open * self.shape.gain * (1.0 - 0.1 * pose.round)

    def jaw_drop(self, pose: Pose) -> float:
        return 0.58 * self.gap(pose)

    def recession(self, y: float) -> float:
        """How much further back the muzzle lies `y` over the mouth's middle than there."""
        _, b, _, d, _ = self.muzzle
        low = max(y, -1.6)
        return float(b * low + d * low * low) - 0.20 * max(0.0, -y - 0.5)

    def rings(self, pose: Pose) -> Floats:
        """(INSIDE_RINGS + LIP_RINGS, NUM_AROUND, 3), from inside out."""
        s, c, gap = self.shape, self._cos, self.gap(pose)
        half = s.width * (1 + 0.17 * pose.wide - 0.27 * pose.round + 0.19 * pose.smile)
        half *= 1 - 0.07 * pose.open
        corner = s.corner + 1.35 * pose.smile * (1 - 0.5 * pose.round) + 0.1 * pose.wide
        corner -= 0.10 * gap
        middle = corner * np.abs(c) ** 1.8 - 0.22 * pose.smile
        up, down = 0.27 * gap, 0.73 * gap
        arch = np.where(self._upper, 0.9 + 0.2 * pose.smile, 0.85) - 0.2 * pose.round
        lift = np.where(self._upper, up, -down) * self._across ** (2 * arch)
        shut = max(0.0, 1.0 - gap / 0.25) * self._across
        x_in, y_in = half * c, middle + lift - np.where(self._upper, 0.07, -0.02) * shut
        thick = self._thickness(pose)
        reach = 0.05 + 0.1 * self._across
        x_out = (half + reach * (1 - self._across)) * c
        y_out = middle * (1 - 0.12 * pose.smile) + lift + np.where(self._upper, thick, -thick)
        rings = []
        # A pocket behind the lips, closed far back.
        throat = middle.mean() + 0.5 * (up - down)
        for inward, scale in ((4.6, 0.02), (4.4, 0.55), (3.2, 0.95)):
            y = throat + (y_in - throat) * scale + 0.75 * scale * np.sin(self._angle)
            z = self.muzzle[0] - inward - 0.0 * y
            rings.append(np.stack([x_in * scale * 0.86, y + self.mouth_y, z + 0 * y], 1))
        for inward, push in ((1.9, 0.5), (1.0, 0.22), (0.42, 0.05)):
            y = y_in + np.where(self._upper, push, -push) * self._across
            x = x_in * (1 - 0.03 * inward)
            z = self._depth(x, y, pose) - inward * (0.35 + 0.65 * self._across)
            rings.append(np.stack([x, y + self.mouth_y, z], 1))
        bulge = np.where(self._upper, 0.40, 0.56) * s.fullness * (0.25 + 0.75 * self._across)
        bulge = bulge * (1 + 0.25 * pose.round - 0.12 * pose.smile - 0.12 * max(pose.wide, 0.0))
        for t in np.linspace(0.0, 1.0, LIP_RINGS):
            x, y = x_in + (x_out - x_in) * t, y_in + (y_out - y_in) * t
            profile = np.sin(np.pi * (0.10 + 0.90 * t**0.85)) ** 0.8 if t < 1 else 0.06
            z = self._depth(x, y, pose) + bulge * profile - 0.12 * (1 - t) ** 3
            z = z + np.where(self._upper, 0.16, 0.0) * shut * (1 - t)
            rings.append(np.stack([x, y + self.mouth_y, z], 1))
        return np.stack(rings)

    def _thickness(self, pose: Pose) -> Floats:
        s, c = self.shape, np.abs(self._cos)
        edge = self._across**1.15
        bow = (
            1
            - 0.26 * s.bow * np.exp(-((c / 0.13) ** 2))
            + 0.06 * s.bow * np.exp(-(((c - 0.24) / 0.16) ** 2))
        )
        upper = s.upper * bow * edge * (1 + 0.35 * pose.round - 0.16 * pose.smile)
        upper = upper * (1 - 0.18 * pose.teeth - 0.10 * pose.open)
        lower = s.lower * edge * (1 + 0.2 * pose.round - 0.12 * pose.smile - 0.12 * pose.open)
        tucked = pose.teeth * max(0.0, 1 - pose.open / 0.3) * max(0.0, 1 - 2 * abs(pose.wide - 0.1))
        return np.where(self._upper, upper, lower * (1 - 0.45 * tucked))

    def _depth(self, x: Floats, y: Floats, pose: Pose) -> Floats:
        a, b, c, d, e = self.muzzle
        # Lips slide over the teeth, whose arch does not change with the mouth.
        y_near = np.clip(y, -1.6, 1.2)
        z = a + b * y_near + c * x * x + d * y_near * y_near + e * x**4
        hang = np.clip(-y - 0.5, 0.0, None)
        pout = pose.round * (0.85 - 0.25 * np.minimum(1.0, np.abs(x) / 3)) - 0.12 * pose.smile
        pout = pout - 0.18 * max(pose.wide, 0.0) * np.minimum(1.0, np.abs(x) / 3) ** 2
        return z + pout - 0.20 * hang


def muzzle_fit(points: Floats, mouth_y: float) -> Floats:
    """The five numbers of the muzzle's depth that fit skin points (N, 3) around the mouth."""
    x, y = points[:, 0], points[:, 1] - mouth_y
    terms = np.stack([np.ones_like(x), y, x * x, y * y, x**4], 1)
    return np.asarray(np.linalg.lstsq(terms, points[:, 2], rcond=None)[0], np.float64)
