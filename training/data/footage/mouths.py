"""How far a mouth is open, read from the pixels around it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.data.footage.face_net import MOUTH_INPUT, MOUTH_VALUES, MouthNet

WINDOW = 0.62
"""Side of the square around the mouth, in heights of the face."""
_DOWN = 0.05
"""The jaw opens downwards: how far below the mouth the square's middle lies."""


class MouthReader(Protocol):
    """Reads mouths. Only the course of the first column over time counts, not its scale."""

    def read(self, crops: Sequence[Tensor], /) -> NDArray[np.float32]:
        """Crops as made by `cut_mouth`, of one face over time -> (T, 3) open, wide, round."""
        ...


class NetMouthReader:
    """The shipped network, which has seen drawn faces."""

    def __init__(self, net: MouthNet) -> None:
        self._net = net

    @torch.no_grad()
    def read(self, crops: Sequence[Tensor]) -> NDArray[np.float32]:
        if not crops:
            return np.zeros((0, MOUTH_VALUES), np.float32)
        pieces = [torch.stack(list(crops[i : i + 128])) for i in range(0, len(crops), 128)]
        return np.concatenate([self._net(piece).numpy() for piece in pieces])


def cut_mouth(frame: NDArray[np.uint8], x: float, y: float, face_height: float) -> Tensor:
    """(3, 48, 48) in [-1, 1] around the mouth at (x, y) pixels; edges are repeated outside."""
    side = max(4.0, WINDOW * face_height)
    left, top = x - 0.5 * side, y + _DOWN * face_height - 0.5 * side
    x0, y0 = int(np.floor(left)) - 1, int(np.floor(top)) - 1
    x1, y1 = int(np.ceil(left + side)) + 1, int(np.ceil(top + side)) + 1
    height, width = frame.shape[:2]
    rows = np.clip(np.arange(y0, y1), 0, height - 1)
    columns = np.clip(np.arange(x0, x1), 0, width - 1)
    around = Image.fromarray(frame[np.ix_(rows, columns)])
    box = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    size = (MOUTH_INPUT, MOUTH_INPUT)
    # bilinear widens to an area filter where it shrinks
    small = around.resize(size, Image.Resampling.BILINEAR, box=box)
    return torch.from_numpy(np.asarray(small, np.float32) / 127.5 - 1.0).permute(2, 0, 1)


class PixelMouthReader:
    """How much of the middle of the crop is darker than the skin around: the open mouth's inside.

    It knows no kind of face; it does not tell wide or round, and leaves them 0.
    """

    def read(self, crops: Sequence[Tensor]) -> NDArray[np.float32]:
        read = np.zeros((len(crops), MOUTH_VALUES), np.float32)
        v, u = (np.mgrid[0:MOUTH_INPUT, 0:MOUTH_INPUT] + 0.5) / MOUTH_INPUT - 0.5
        middle = (u / 0.3) ** 2 + (v / 0.3) ** 2 < 1.0
        for index, crop in enumerate(crops):
            light = (crop.numpy().mean(axis=0) + 1.0) / 2.0
            skin = max(float(np.median(light)), 0.05)
            read[index, 0] = np.clip(_DARK - light[middle] / skin, 0.0, 1.0).mean() / _DARK
        return read


_DARK = 0.6
"""Of the skin's lightness: the inside of a mouth is below."""
