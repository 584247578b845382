"""Pictures of the cast as training uses them, and where in them the mouth and the face are."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.look import Look
from training.portrait.renderer import Picture, PortraitRenderer
from training.portrait.robot import MOUTH_Y
from training.portrait.scene import CAMERA_DISTANCE, MIDDLE_Y, PICTURE, PIXELS_PER_UNIT

SIZE = PICTURE

PORTRAIT_SMILE = 0.35

_FACE_DEPTH = 7.0
"""How far lips and brows lie before the middle of the head, in units."""
_NEAR = PIXELS_PER_UNIT * CAMERA_DISTANCE / (CAMERA_DISTANCE - _FACE_DEPTH)
"""Pixels a unit at that depth."""


def portrait(look: Look) -> Picture:
    """The still reference: facing the viewer, mouth shut, a small smile."""
    return portrait_by(PortraitRenderer(look))


def portrait_by(renderer: PortraitRenderer) -> Picture:
    return renderer.frame([0.0] * 5, [0.0] * 9 + [PORTRAIT_SMILE])


def mouth_box(look: Look) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of a 96 x 80 box that holds the mouth in every pose of the sampler."""
    mouth_y = MOUTH_Y if look.robot else look.head.mouth_y
    y = round(SIZE / 2 + _NEAR * (MIDDLE_Y - mouth_y)) + 8  # the jaw opens downwards
    return SIZE // 2 - 48, y - 40, SIZE // 2 + 48, y + 40


def face_mask(look: Look) -> NDArray[np.bool_]:
    """(256, 256) bool: the face with all its movements, hair and clothes mostly left out."""
    hangs = 1.3 * look.beard.length if look.beard else 0.0
    top, bottom = look.eyes.y + 5.5, look.head.chin_y - 3.2 - hangs
    middle, half = 0.5 * (top + bottom), 0.5 * (top - bottom)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    cheeks = 2.6 if look.fur else 1.4
    x = (columns - SIZE / 2) / (_NEAR * (look.head.face + cheeks))
    y = (rows - SIZE / 2 - _NEAR * (MIDDLE_Y - middle)) / (_NEAR * half)
    inside: NDArray[np.bool_] = x * x + y * y <= 1.0
    return inside


__all__ = [
    "SIZE",
    "Picture",
    "PortraitRenderer",
    "face_mask",
    "mouth_box",
    "portrait",
    "portrait_by",
]
