"""TAEHV's decoder: 2D convolutions, some of which also see what they saw one frame before.

Layout and names of the weights are those of https://github.com/madebyollin/taehv (MIT).
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.taehv.config import TAEHVConfig

BLOCKS = 3
"""Memory blocks on each level."""


@dataclass(frozen=True)
class TAEHVState:
    """For each memory block the frame it saw last, (B, C, h, w); empty before the first latent."""

    memory: tuple[Tensor, ...] = ()


class SoftClamp(nn.Module):
    """Bends what is far out to within -3 and 3."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class MemoryBlock(nn.Module):
    """A residual block over a frame and the frame before it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C, h, w) and the frame before the first of them -> the same, and the last seen."""
        shifted = torch.cat([before[:, None], x[:, :-1]], 1)
        y = self.conv(torch.cat([x, shifted], 2).flatten(0, 1)).unflatten(0, x.shape[:2])
        return F.relu(y + x), x[:, -1]


class GrowTime(nn.Module):
    """One frame becomes `times` frames."""

    def __init__(self, dim: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv = nn.Conv2d(dim, dim * times, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).unflatten(1, (self.times, -1)).flatten(0, 1)


class TAEHV(nn.Module):
    """The decoder alone; the same interface and laws as the Wan VAE's."""

    def __init__(self, config: TAEHVConfig) -> None:
        super().__init__()
        self.config = config
        first = config.dims[0]
        layers: list[nn.Module] = [
            SoftClamp(),
            nn.Conv2d(config.latent_channels, first, 3, padding=1),
            nn.ReLU(),
        ]
        for (dim, following), times in zip(pairwise(config.dims), config.grows_time, strict=True):
            layers += [MemoryBlock(dim) for _ in range(BLOCKS)]
            layers += [nn.Upsample(scale_factor=2), GrowTime(dim, times)]
            layers.append(nn.Conv2d(dim, following, 3, padding=1, bias=False))
        layers += [nn.ReLU(), nn.Conv2d(config.dims[-1], 3, 3, padding=1)]
        self.decoder = nn.Sequential(*layers)

    def init_decoder(self) -> TAEHVState:
        return TAEHVState()

    def primed_decoder(self, sink_latents: Tensor) -> TAEHVState:
        """State after the sink (1, S, C, h, w), which is never played: all after it is whole."""
        return self.decode_parts(sink_latents, self.init_decoder())[1]

    def decode(self, latents: Tensor, state: TAEHVState) -> tuple[Tensor, TAEHVState]:
        """Normalised latents (B, F, C, h, w) -> frames (B, T, 3, 8h, 8w) in [-1, 1].

        As the network makes them: it was trained on latents whose mean and scale are not undone.
        T is 4 F - 3 at the beginning of a stream (its first latent is one frame) and 4 F after it.
        """
        parts, following = self.decode_parts(latents, state)
        return torch.cat(parts, 1), following

    def decode_parts(self, latents: Tensor, state: TAEHVState) -> tuple[list[Tensor], TAEHVState]:
        """`decode`, its frames in pieces as they were made: (B, 1 or 4, 3, 8h, 8w) a latent."""
        channels = self.config.latent_channels
        if latents.ndim != 5 or latents.shape[2] != channels or latents.shape[1] == 0:
            raise ValueError(f"latents {tuple(latents.shape)} given, (B, F, {channels}, h, w)")
        begins, memory, parts = not state.memory, state.memory, []
        # one at a time: a convolution over more frames at once may round otherwise
        for latent in latents.to(next(self.parameters()).dtype).unbind(1):
            frames, memory = self._decode_one(latent, memory)
            parts.append(frames)
        if begins:  # the first latent is one frame, the last of its group
            parts[0] = parts[0][:, -1:]
        return parts, TAEHVState(memory)

    def _decode_one(
        self, latent: Tensor, memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, C, h, w) -> (B, 4, 3, 8h, 8w) in [-1, 1], and what the memory blocks saw last."""
        B, x = latent.shape[0], latent
        seen: list[Tensor] = []
        for layer in self.decoder:
            if isinstance(layer, MemoryBlock):
                frames = x.unflatten(0, (B, -1))
                before = memory[len(seen)] if memory else torch.zeros_like(frames[:, 0])
                y, last = layer(frames, before)
                x = y.flatten(0, 1)
                seen.append(last)
            else:
                x = layer(x)
        return x.unflatten(0, (B, -1)).clamp(0, 1) * 2 - 1, tuple(seen)
