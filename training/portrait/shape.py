"""The form of a head without its features: skull, jaw, cheeks, nose."""

from dataclasses import dataclass

import numpy as np

from training.portrait.sdf import (
    Distances,
    Field,
    Points,
    capsule,
    carve,
    ellipsoid,
    join,
    sphere,
)


@dataclass(frozen=True)
class HeadShape:
    """Lengths in units; the defaults are a slender adult."""

    cranium: float = 7.2
    """Half the width of the skull above the ears."""
    crown: float = 10.6
    face: float = 6.3
    """Half the width at the cheekbones."""
    cheek: float = 1.0
    """Fullness of the cheeks."""
    jaw: float = 4.7
    """Half the width at the corners of the mouth."""
    chin: float = 1.6
    chin_y: float = -9.4
    chin_z: float = 5.4
    brow_ridge: float = 0.5
    nose_length: float = 3.5
    nose_depth: float = 2.6
    """How far its tip stands out."""
    nose_bridge: float = 0.80
    nose_tip: float = 0.95
    nose_wing: float = 0.72
    nose_wing_x: float = 1.12
    nose_up: float = 0.25
    """How much the tip is turned up."""
    muzzle: float = 1.0
    """Fullness behind the lips."""
    mouth_y: float = -6.0
    eye_x: float = 3.15
    eye_depth: float = 1.0
    """How deep the eyes lie."""


CENTRE = np.array([0.0, -1.0, 0.0])
"""Every point of the surface is seen from here: rays from it describe the head."""


def head_field(shape: HeadShape) -> Field:
    """Signed distance of the head, without ears, neck, eyes and lips."""

    def field(p: Points) -> Distances:
        s = shape
        p = np.concatenate([np.abs(p[:, :1]), p[:, 1:]], axis=1)  # the head is symmetric
        top = s.crown
        d = ellipsoid(p, (0, top - 7.6, -1.4), (s.cranium, 7.6, 8.4))
        d = join(d, ellipsoid(p, (0, 2.4, 0.6), (s.face + 0.2, 6.2, 6.9)), 2.0)
        d = join(d, ellipsoid(p, (0, -2.2, 0.9), (s.face, 6.6, 6.15)), 2.2)
        d = join(d, ellipsoid(p, (0, -5.0, 1.9), (s.jaw, 4.5, 5.0)), 2.4)
        d = join(
            d, capsule(p, (s.jaw - 1.1, -4.9, 0.4), (0.8, s.chin_y + s.chin, 4.7), 1.5, 1.4), 2.2
        )
        d = join(d, sphere(p, (0, s.chin_y + s.chin, s.chin_z - 0.1), s.chin), 2.6)
        d = join(d, sphere(p, (s.face * 0.62, -2.7, 3.75), 2.0 * s.cheek), 2.4)
        d = join(d, capsule(p, (0.9, 2.5, 6.2), (4.2, 2.3, 4.6), s.brow_ridge, s.brow_ridge), 2.2)
        d = join(d, ellipsoid(p, (0, s.mouth_y + 0.1, 4.6), (2.9, 2.1, 2.2 * s.muzzle)), 2.0)
        d = carve(d, sphere(p, (s.eye_x + 0.1, 1.0, 8.9 - 0.3 * s.eye_depth), 1.8), 1.6)
        return join(d, _nose(p, s), 1.0)

    return field


def _nose(p: Points, s: HeadShape) -> Distances:
    tip_y = -s.nose_length + s.nose_up
    tip = np.array([0.0, tip_y, 6.7 + s.nose_depth - s.nose_tip])
    root = (0.0, 1.3, 6.15)
    d = capsule(p, root, (0, tip_y + 0.9, tip[2] - 0.15), s.nose_bridge * 0.9, s.nose_bridge)
    d = join(d, ellipsoid(p, tip, (s.nose_tip * 1.08, s.nose_tip * 0.92, s.nose_tip)), 1.0)
    wing = (s.nose_wing_x, tip_y - 0.25, 6.2 + 0.42 * s.nose_depth)
    d = join(
        d, ellipsoid(p, wing, (s.nose_wing * 0.85, s.nose_wing * 0.85, s.nose_wing * 1.3)), 0.55
    )
    base = (0.0, tip_y - 0.55, tip[2] - 0.6)
    d = join(d, ellipsoid(p, base, (0.42, 0.42, 0.75)), 0.5)
    nostril = (0.66 * s.nose_wing_x, tip_y - 0.95, tip[2] - 0.55)
    return carve(d, ellipsoid(p, nostril, (0.30, 0.34, 0.55)), 0.30)
