"""A second way to read the mouth from a video: how much of it has colours that lips and skin lack.

It knows no network and no renderer: teeth, tongue and the dark behind them are what the still
picture of the same character does not show around its mouth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation  # type: ignore[import-untyped]  # scipy has no stubs

_LEVELS = 32
_TOLERANCE = 1
"""Cells of colour, of 32 a channel, that shading may move a colour by."""


def mouth_area(
    frames: NDArray[np.uint8], portrait: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """(T,) share of the mouth box that shows colours new to it.

    Args:
        frames: (T, H, W, 3) RGB.
        portrait: (H, W, 3), the same character with its mouth shut.
        box: x0, y0, x1, y1 around the mouth.
    """
    x0, y0, x1, y1 = box
    known = np.zeros((_LEVELS,) * 3, bool)
    known[tuple(_cells(portrait[y0:y1, x0:x1]))] = True
    known = binary_dilation(known, iterations=_TOLERANCE)
    new = ~known[tuple(_cells(frames[:, y0:y1, x0:x1]))]
    return new.mean(axis=(1, 2)).astype(np.float32)


def _cells(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Channels first, in `_LEVELS` steps."""
    return np.moveaxis(pixels // np.uint8(256 // _LEVELS), -1, 0)
