"""Rendered clips on disk, as training reads them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.cast.characters import CAST
from training.data.clips import finished_clips
from training.data.looks import LOOKS
from training.data.renderer import mouth_box


@dataclass(frozen=True)
class CastClip:
    """One clip of one character; `frames` (T, 256, 256, 3) uint8 stays on disk."""

    character: str
    portrait: NDArray[np.uint8]
    mouth_box: tuple[int, int, int, int]
    frames: NDArray[np.uint8]
    samples: NDArray[np.float32]
    curves: NDArray[np.float32]
    controls: NDArray[np.float32]
    motion: NDArray[np.float16]

    def flow(self, start: int, stop: int) -> Tensor:
        """(stop - start, 2, 32, 32) pixels back to the portrait, as the VAE takes it."""
        return torch.from_numpy(self.motion[start:stop]).float().movedim(-1, 1)


@dataclass(frozen=True)
class ClipSet:
    """Clips to learn from, and clips only looked at."""

    train: list[CastClip]
    held_out: list[CastClip]


def read_clips(folder: Path, held_out_per_character: int = 2) -> ClipSet:
    """All finished clips of the cast; the last few of each character are held out."""
    train: list[CastClip] = []
    held_out: list[CastClip] = []
    for character in CAST:
        portrait = np.load(folder / character.id / "portrait.npy")
        box = mouth_box(LOOKS[character.id])
        clips = [
            CastClip(character.id, portrait, box, c.frames, c.audio, c.mouth, c.controls, c.motion)
            for c in finished_clips(folder / character.id)
        ]
        train += clips[: len(clips) - held_out_per_character]
        held_out += clips[len(clips) - held_out_per_character :]
    return ClipSet(train, held_out)
