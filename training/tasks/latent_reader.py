"""A reader of mouth shapes from latents: the sync loss of the DiT, as SyncNet is for real video."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.vae.model import GROUP, STRIDE
from training.data.latents import LatentClips

WINDOW = 10
"""Latent cells along one side of what the reader sees, centred on the mouth."""


def mouth_cells(box: tuple[int, int, int, int]) -> tuple[int, int]:
    """Top left latent cell of the reader's window for a mouth box in pixels."""
    x0, y0, x1, y1 = box
    limit = 32 - WINDOW
    row = round((y0 + y1) / 2 / STRIDE - WINDOW / 2)
    column = round((x0 + x1) / 2 / STRIDE - WINDOW / 2)
    return min(max(row, 0), limit), min(max(column, 0), limit)


class LatentReader(nn.Module):
    """(N, C, 10, 10) latents around the mouth -> (N, 4 frames, 4 visemes)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(1),
            nn.Linear(channels * WINDOW * WINDOW, 128),
            nn.SiLU(),
            nn.Linear(128, 4 * GROUP),
        )

    def forward(self, cells: Tensor) -> Tensor:
        read: Tensor = self.layers(cells)
        return read.unflatten(1, (GROUP, 4))


class LatentReaderTask:
    """Regression on latents in the DiT's space, blurred by noise so that it reads robustly."""

    def __init__(self, clips: LatentClips, *, batch_size: int = 192) -> None:
        self.batch_size = batch_size
        self.model = LatentReader(clips.latents[0].shape[1])
        cells, visemes, held_out = [], [], []
        for i in range(len(clips)):
            row, column = mouth_cells(clips.mouth_boxes[i])
            window = clips.latents[i][:, :, row : row + WINDOW, column : column + WINDOW]
            cells.append(window.float())
            visemes.append(clips.visemes[i])
            held_out.append(torch.full((len(window),), clips.is_held_out(i)))
        self.cells, self.visemes = torch.cat(cells), torch.cat(visemes)
        held = torch.cat(held_out)
        self.train, self.held_out = torch.where(~held)[0], torch.where(held)[0]

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = self.train[torch.from_numpy(rng.integers(0, len(self.train), self.batch_size))]
        cells = self.cells[index]
        predicted = self.model(cells + 0.15 * torch.randn(cells.shape))
        return F.mse_loss(predicted, self.visemes[index]), {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Correlation on held-out clips; `within_group` is what happens inside 160 ms."""
        predicted, target = self.model(self.cells[self.held_out]), self.visemes[self.held_out]
        own = predicted[..., 0] - predicted[..., 0].mean(1, keepdim=True)
        true = target[..., 0] - target[..., 0].mean(1, keepdim=True)
        figures = {
            name: _correlation(predicted[..., i], target[..., i])
            for i, name in enumerate(("open", "wide", "round", "teeth"))
        }
        return figures | {"open_within_group": _correlation(own, true)}


def _correlation(a: Tensor, b: Tensor) -> float:
    return round(float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]), 4)
