"""A small network that reads lids, gaze and head from pixels: the meter of everything but lips.

Like the reader of mouths it learns from real renders only, softened and noisy ones among them, and
never sees a generated frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from avatar.cast.motion import CONTROL_NAMES
from avatar.models.weights import load_into

if TYPE_CHECKING:  # the meter runs where there is no renderer
    from training.data.clips import Clip
    from training.data.renderer import PortraitRenderer

CONTROLS = ("yaw", "pitch", "roll", "tx", "ty", "blink", "brow", "gaze_x", "gaze_y", "smile")
"""What is read, in the units of the controls: 1.0 is the furthest that the renderer turns."""
NUM_HEAD = 5
"""The first of them turn and shift the head."""
SIDE = 128
LEFT, TOP = 64, 52
"""Corner of the square that is read, in a 256 picture: brows to upper lip of all characters."""


class ControlReader(nn.Module):
    """(N, 3, 128, 128) in [-1, 1] -> (N, 10), see `CONTROLS`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 48), (48, 64), (64, 48)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(48 * 16, 64), nn.SiLU(), nn.Linear(64, len(CONTROLS))
        )

    def forward(self, pictures: Tensor) -> Tensor:
        read: Tensor = self.layers(pictures)
        return read


def crop_face(frames: NDArray[np.uint8]) -> Tensor:
    """Frames (T, 256, 256, 3) -> (T, 3, 128, 128) in [-1, 1]."""
    cut = np.ascontiguousarray(frames[:, TOP : TOP + SIDE, LEFT : LEFT + SIDE])
    return torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def read_controls(reader: ControlReader, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(T, 10) controls of a video, columns as in `CONTROLS`."""
    pieces = [reader(crop_face(frames[i : i + 64])).numpy() for i in range(0, len(frames), 64)]
    return np.concatenate(pieces)


def controls_read(controls: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of all controls, (T, `CONTROL_DIM`), the columns `CONTROLS`."""
    return controls[:, [CONTROL_NAMES.index(name) for name in CONTROLS]]


def load_control_reader(path: Path) -> ControlReader:
    return load_into(ControlReader(), load_file(path), path)


class Poses(NamedTuple):
    """Single pictures with what made them: `crops` (N, 128, 128, 3) uint8, `controls` (N, 10)."""

    crops: NDArray[np.uint8]
    controls: NDArray[np.float32]


def draw_poses(renderer: "PortraitRenderer", count: int, rng: np.random.Generator) -> Poses:
    """`count` pictures of one character, every one in a pose of its own.

    Nothing moves as it would in a video: a network that has seen a pose with any mouth, gaze and
    lids cannot guess one from the other.
    """
    from training.data.visemes import TARGETS

    shapes = np.array(list(TARGETS.values()))
    crops = np.empty((count, SIDE, SIDE, 3), np.uint8)
    drawn = np.empty((count, len(CONTROLS)), np.float32)
    for index in range(count):
        one, other = shapes[rng.integers(len(shapes), size=2)]
        mouth = one + (other - one) * rng.random()
        drawn[index] = pose = random_controls(rng)
        picture = renderer.frame(mouth, [*pose, rng.uniform(-1, 1)])
        crops[index] = picture[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    return Poses(crops, drawn)


def random_controls(rng: np.random.Generator) -> NDArray[np.float32]:
    """(10,): as far as any temperament moves and further, and shut lids as often as open ones."""
    pose = rng.uniform(-0.8, 0.8, len(CONTROLS)).astype(np.float32)
    # most heads move little, and how little has to be read well
    pose[:NUM_HEAD] = np.clip(rng.normal(0, 0.24, NUM_HEAD), -0.8, 0.8)
    lids = rng.random()
    pose[CONTROLS.index("blink")] = 0.0 if lids < 0.5 else min(1.0, 1.2 * (lids - 0.5) / 0.5)
    pose[CONTROLS.index("smile")] = rng.random()
    return pose


def validate(reader: ControlReader, clips: "Sequence[Clip]") -> dict[str, float]:
    """Correlation with the truth on real renders of speech: the meter's own ceiling."""
    read = np.concatenate([read_controls(reader, clip.frames) for clip in clips])
    truth = np.concatenate([controls_read(clip.controls) for clip in clips])
    return {
        name: round(float(np.corrcoef(read[:, i], truth[:, i])[0, 1]), 4)
        for i, name in enumerate(CONTROLS)
    }


class ControlReaderTask:
    """Regression on real renders."""

    def __init__(self, poses: Poses, *, batch_size: int = 48) -> None:
        self.model = ControlReader()
        self.crops = torch.from_numpy(poses.crops).permute(0, 3, 1, 2)
        self.controls, self.batch_size = torch.from_numpy(poses.controls), batch_size
        self.spread = self.controls.std(dim=0)

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = torch.from_numpy(rng.integers(0, len(self.crops), self.batch_size))
        pictures = self.crops[index].float() / 127.5 - 1
        gain = 1 + 0.05 * torch.randn(self.batch_size, 1, 1, 1)
        shade = 0.03 * torch.randn(self.batch_size, 3, 1, 1)
        pictures = pictures * gain + shade + 0.02 * torch.randn(pictures.shape)
        if step % 3 == 0:
            small = F.avg_pool2d(pictures, 2)
            pictures = F.interpolate(small, scale_factor=2, mode="bilinear")
        missed = (self.model(pictures) - self.controls[index]) / self.spread
        return missed.square().mean(), {}
