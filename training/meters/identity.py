"""Is it still the same face? A mean picture against those of all characters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.meters.lip_sync import Box

Cells = NDArray[np.float32]
"""(32, 32, 3) mean colours, 0 to 255, of squares of 8 pixels."""
CELL = 8
HEAD: Box = (40, 24, 216, 232)
"""Holds every character's head, in a 256 picture."""


@dataclass(frozen=True)
class Likeness:
    """How a character looks in the mean, and how all others do.

    Attributes:
        own: Mean cells of real renders of it, moving as it does.
        others: The same of each other character.
        mouth: Left out: what is said moves it.
    """

    own: Cells
    others: Mapping[str, Cells]
    mouth: Box

    def score(self, seen: Cells) -> float:
        """1 for the very same picture, 0 as far off as the most similar other character.

        Cells of a mean picture hold no movement to speak of, so a tint of all of it by 2 of 255
        costs 2 / distance to that other, some hundredths.
        """
        nearest = min(self.distance(other) for other in self.others.values())
        return 1 - self.distance(seen) / nearest

    def distance(self, seen: Cells) -> float:
        """Mean difference from the own picture, of 255."""
        places = head_cells(self.mouth)
        return float(np.abs(seen - self.own)[places].mean())


def cells(picture: NDArray[np.floating] | NDArray[np.uint8]) -> Cells:
    """Mean colours of an (H, W, 3) picture's squares."""
    height, width, channels = picture.shape
    squares = picture.reshape(height // CELL, CELL, width // CELL, CELL, channels)
    return squares.mean(axis=(1, 3)).astype(np.float32)


def head_cells(mouth: Box) -> NDArray[np.bool_]:
    """(32, 32): inside `HEAD` and outside of the mouth box."""
    inside = np.zeros((256 // CELL, 256 // CELL), np.bool_)
    for (x0, y0, x1, y1), value in ((HEAD, True), (mouth, False)):
        inside[y0 // CELL : -(-y1 // CELL), x0 // CELL : -(-x1 // CELL)] = value
    return inside
