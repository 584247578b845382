"""A small network that hears the mouth in speech: what the lips of whoever speaks should do.

Unlike the models' audio encoder it also listens ahead, and it is trained apart from them, so that
the filter of the data does not share their errors.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from avatar.models.audio_encoder.mel import HOP, WINDOW, LogMel
from avatar.models.weights import load_into, read_model

WEIGHTS = Path(__file__).parent / "speech_net.safetensors"
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = 640
"""At 25 frames a second."""


@dataclass(frozen=True)
class SpeechNetConfig:
    num_bands: int = 40
    dim: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 1)


class SpeechNet(nn.Module):
    """(B, S) samples at 16 kHz -> (B, S / 640, 3) open, wide, round of every frame at 25 fps."""

    def __init__(self, config: SpeechNetConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.num_bands)
        self.stem = nn.Conv1d(config.num_bands, config.dim, 5, padding=2)
        self.fold = nn.Conv1d(config.dim, config.dim, 4, stride=4)
        self.layers = nn.ModuleList(
            nn.Conv1d(config.dim, config.dim, 3, padding=each, dilation=each)
            for each in config.dilations
        )
        self.head = nn.Conv1d(config.dim, 3, 1)

    def forward(self, samples: Tensor) -> Tensor:
        if samples.shape[1] % SAMPLES_PER_FRAME:
            expected = f"a multiple of {SAMPLES_PER_FRAME}"
            raise ValueError(f"{samples.shape[1]} samples given, {expected} expected")
        around = (WINDOW - HOP) // 2  # a window's middle is its hop's
        heard: Tensor = self.mel(F.pad(samples, (around, around))).transpose(1, 2)
        x = self.fold(F.silu(self.stem(heard)))
        for layer in self.layers:
            x = x + layer(F.silu(x))
        mouth: Tensor = self.head(F.silu(x)).transpose(1, 2)
        return mouth


def load_speech_net(path: Path = WEIGHTS) -> SpeechNet:
    tensors, config = read_model(path)
    config["dilations"] = tuple(config["dilations"])
    return load_into(SpeechNet(SpeechNetConfig(**config)), tensors, path)


@torch.no_grad()
def spoken_mouth(net: SpeechNet, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, 3) mouth of T * 640 samples, any T; heard in pieces of a minute with 2 s around each."""
    num_frames = len(samples) // SAMPLES_PER_FRAME
    piece, around = 1500, 50
    heard = []
    for start in range(0, num_frames, piece):
        first, last = max(0, start - around), min(num_frames, start + piece + around)
        part = samples[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
        mouth = net(torch.from_numpy(part).float()[None])[0].numpy()
        heard.append(mouth[start - first : min(start + piece, num_frames) - first])
    return np.concatenate(heard) if heard else np.zeros((0, 3), np.float32)
