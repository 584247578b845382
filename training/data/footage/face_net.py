"""Two small networks: one finds faces in a picture, the other reads a mouth."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8
"""Pixels along one side of a cell of the finder's map."""
UNIT = 32.0
"""Height of a face, in pixels, that the finder writes as 0: it writes log2(height / UNIT)."""
MOUTH_INPUT = 48
MOUTH_VALUES = 3
"""Open, wide, round."""


@dataclass(frozen=True)
class FaceNetConfig:
    finder_dims: tuple[int, int, int] = (12, 24, 48)
    finder_dilations: tuple[int, ...] = (1, 2, 4, 2, 1)
    reader_dims: tuple[int, int, int, int] = (16, 32, 48, 48)


class Dilated(nn.Module):
    """x + conv(silu(x)); far sight without losing resolution."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv(F.silu(x))
        return y


class FaceFinder(nn.Module):
    """(N, 3, H, W) in [-1, 1] -> (N, 6, H / 8, W / 8); H and W are multiples of 8.

    Channels: logit of a face's middle; log2 of its height over `UNIT`; its middle's offset x, y
    from the cell's middle in cells; its mouth's x, y from its middle in heights of the face.
    """

    def __init__(self, config: FaceNetConfig) -> None:
        super().__init__()
        d2, d4, d8 = config.finder_dims
        self.stem = nn.Sequential(
            nn.Conv2d(3, d2, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(d2, d4, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(d4, d8, 3, stride=2, padding=1),
        )
        self.layers = nn.Sequential(*(Dilated(d8, each) for each in config.finder_dilations))
        self.head = nn.Sequential(
            nn.SiLU(), nn.Conv2d(d8, d8, 1), nn.SiLU(), (last := nn.Conv2d(d8, 6, 1))
        )
        assert last.bias is not None
        with torch.no_grad():
            last.bias[0] = -4.0  # almost no cell holds a face

    def forward(self, pictures: Tensor) -> Tensor:
        seen: Tensor = self.head(self.layers(self.stem(pictures)))
        return seen


class MouthNet(nn.Module):
    """(N, 3, 48, 48) in [-1, 1] around a mouth -> (N, 3): open, wide, round."""

    def __init__(self, config: FaceNetConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *config.reader_dims), config.reader_dims, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        cells = (MOUTH_INPUT // 16) ** 2
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(config.reader_dims[-1] * cells, 48),
            nn.SiLU(),
            nn.Linear(48, MOUTH_VALUES),
        )

    def forward(self, crops: Tensor) -> Tensor:
        read: Tensor = self.layers(crops)
        return read


class FaceNet(nn.Module):
    """Both, because they ship in one file."""

    def __init__(self, config: FaceNetConfig) -> None:
        super().__init__()
        self.config = config
        self.finder = FaceFinder(config)
        self.reader = MouthNet(config)
