"""A small network that reads the mouth's shape from pixels: the meter of lip sync.

It is trained on real renders only, with blur and noise so that soft pictures read the same, and
never sees a generated frame: what it says of those is a measurement.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from avatar.models.weights import load_into

if TYPE_CHECKING:  # the meter runs where there is no renderer
    from training.data.dataset import CastClip

WINDOW = 96
"""Side of the square read around the mouth, in pixels of a 256 picture."""
INPUT = 48


class MouthReader(nn.Module):
    """(N, 3, 48, 48) in [-1, 1] -> (N, 5): open, wide, round, teeth, tongue."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 24), (24, 48), (48, 64), (64, 64)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(64 * 9, 64), nn.SiLU(), nn.Linear(64, 5)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        read: Tensor = self.layers(pictures)
        return read


def crop_mouth(frames: NDArray[np.uint8], box: tuple[int, int, int, int]) -> Tensor:
    """Frames (T, 256, 256, 3) -> (T, 3, 48, 48) in [-1, 1] around the mouth box."""
    x0, y0, x1, y1 = box
    y = int(np.clip((y0 + y1) // 2 - WINDOW // 2, 0, frames.shape[1] - WINDOW))
    x = int(np.clip((x0 + x1) // 2 - WINDOW // 2, 0, frames.shape[2] - WINDOW))
    cut = torch.from_numpy(np.ascontiguousarray(frames[:, y : y + WINDOW, x : x + WINDOW]))
    return F.avg_pool2d(cut.permute(0, 3, 1, 2).float() / 127.5 - 1, WINDOW // INPUT)


@torch.no_grad()
def read_mouth(
    reader: MouthReader, frames: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """(T, 5) mouth shapes of a video."""
    pieces = [
        reader(crop_mouth(frames[i : i + 256], box)).numpy() for i in range(0, len(frames), 256)
    ]
    return np.concatenate(pieces)


def validate(reader: MouthReader, clips: "list[CastClip]") -> dict[str, float]:
    """Correlation with the truth on held-out real renders: the meter's own ceiling."""
    read = np.concatenate([read_mouth(reader, c.frames, c.mouth_box) for c in clips])
    truth = np.concatenate([c.curves for c in clips])
    return {
        name: round(float(np.corrcoef(read[:, i], truth[:, i])[0, 1]), 4)
        for i, name in enumerate(("open", "wide", "round", "teeth", "tongue"))
    }


def load_mouth_reader(path: Path) -> MouthReader:
    return load_into(MouthReader(), load_file(path), path)


class MouthReaderTask:
    """Regression on real renders. `crops` is (N, 3, 48, 48), `curves` (N, 5)."""

    def __init__(self, crops: Tensor, curves: Tensor, *, batch_size: int = 64) -> None:
        self.model = MouthReader()
        self.crops, self.curves, self.batch_size = crops, curves, batch_size

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = torch.from_numpy(rng.integers(0, len(self.crops), self.batch_size))
        pictures = self.crops[index]
        gain = 1 + 0.06 * torch.randn(self.batch_size, 1, 1, 1)
        pictures = pictures * gain + 0.05 * torch.randn(pictures.shape)
        if step % 2:
            small = F.avg_pool2d(pictures, 2)
            pictures = F.interpolate(small, scale_factor=2, mode="bilinear")
        return F.mse_loss(self.model(pictures), self.curves[index]), {}
