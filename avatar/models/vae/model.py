"""A causal video VAE of 2D convolutions, with time folded into channels.

Groups of 4 frames become one latent frame; the first latent of a stream is one frame alone, so
81 frames are 21 latents. A whitened PCA of 8x8x4 pixel blocks is the linear path and convolutions
add what it misses: on CPU conv3d is several times slower than conv2d, and from a plain start the
convolutions need long to find what PCA gives at once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

GROUP = 4
"""Frames in one latent frame."""
STRIDE = 8
"""Pixels along one side of a latent cell."""


@dataclass(frozen=True)
class VAEConfig:
    """`pca_channels` come from the linear path, `free_channels` are learned for the mouth."""

    pca_channels: int = 16
    free_channels: int = 8
    encoder_dim: int = 96
    decoder_dims: tuple[int, int, int] = (128, 64, 32)

    @property
    def latent_channels(self) -> int:
        return self.pca_channels + self.free_channels


@dataclass(frozen=True)
class EncoderState:
    """Last frame seen, (B, 3, H, W) in [-1, 1]; None before the first."""

    last_frame: Tensor | None = None


@dataclass(frozen=True)
class DecoderState:
    """Last latent decoded, and features of the reference frame at 1/8 and 1/4 resolution."""

    last_latent: Tensor | None
    features: tuple[Tensor, Tensor]


class Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]  # bias is on

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv2(F.silu(self.conv1(F.silu(x))))
        return y


class VAE(nn.Module):
    """Encode and decode chunk by chunk; the state carries one frame, or one latent, of the past."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        pca, _free, e = config.pca_channels, config.free_channels, config.encoder_dim
        C = config.latent_channels
        d8, d4, d2 = config.decoder_dims
        block = 3 * GROUP * STRIDE * STRIDE
        self.pca_encode = nn.Linear(block, pca)
        self.pca_decode = nn.Linear(pca, block)
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(3 * (GROUP + 1) * 16, e, 3, padding=1),
            Residual(e),
            nn.SiLU(),
            nn.Conv2d(e, e, 4, stride=2, padding=1),
            Residual(e),
            Residual(e),
            nn.SiLU(),
            (to_latent := nn.Conv2d(e, C, 3, padding=1)),
        )
        with torch.no_grad():
            # the free channels start as loud as the linear path's
            to_latent.weight[pca:] *= 8
        self.reference4 = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, d4, 3, padding=1), Residual(d4)
        )
        self.reference8 = nn.Conv2d(d4, d8, 4, stride=2, padding=1)
        self.decoder8 = nn.Sequential(
            nn.Conv2d(2 * C, d8, 3, padding=1), Residual(d8), Residual(d8)
        )
        self.up4 = nn.Sequential(nn.SiLU(), nn.Conv2d(d8, 4 * d4, 1), nn.PixelShuffle(2))
        self.decoder4 = nn.Sequential(Residual(d4), Residual(d4))
        self.up2 = nn.Sequential(nn.SiLU(), nn.Conv2d(d4, 4 * d2, 1), nn.PixelShuffle(2))
        self.decoder2 = nn.Sequential(
            Residual(d2), nn.SiLU(), nn.Conv2d(d2, 12 * GROUP, 3, padding=1), nn.PixelShuffle(2)
        )
        last = self.decoder2[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.register_buffer("mean", torch.zeros(C))
        self.register_buffer("std", torch.ones(C))

    # -- streams ------------------------------------------------------------------------------

    def encode(self, frames: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Frames (B, T, 3, H, W) in [-1, 1] -> normalised latents (B, F, C, H/8, W/8).

        T is 1 + 4k at the beginning of a stream and 4k after it; F is 1 + k, or k.
        """
        T = frames.shape[1]
        if T % GROUP != (1 if state.last_frame is None else 0):
            start = "1 + 4k at the beginning of" if state.last_frame is None else "4k within"
            raise ValueError(f"{T} frames given, {start} a stream expected")
        if state.last_frame is None:
            frames = torch.cat([frames[:, :1].expand(-1, GROUP - 1, -1, -1, -1), frames], dim=1)
            before = frames[:, 0]
        else:
            before = state.last_frame
        groups = frames.unflatten(1, (-1, GROUP))
        previous = torch.cat([before[:, None], groups[:, :-1, -1]], dim=1)
        latents = self.encode_groups(groups.flatten(0, 1), previous.flatten(0, 1))
        latents = (latents - self.mean[:, None, None]) / self.std[:, None, None]
        return latents.unflatten(0, (frames.shape[0], -1)), EncoderState(frames[:, -1])

    def init_decoder(self, reference: Tensor) -> DecoderState:
        """State at the beginning of a stream whose first frame is `reference`, (B, 3, H, W)."""
        quarter = self.reference4(reference)
        return DecoderState(None, (self.reference8(F.silu(quarter)), quarter))

    def decode(self, latents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Normalised latents (B, F, C, h, w) -> frames (B, T, 3, 8h, 8w) in about [-1, 1].

        T is 4 F - 3 at the beginning of a stream (its first latent is one frame) and 4 F after it.
        """
        B, num_latents = latents.shape[:2]
        first = state.last_latent is None
        before = latents[:, 0] if state.last_latent is None else state.last_latent
        previous = torch.cat([before[:, None], latents[:, :-1]], dim=1)
        groups = self.decode_groups(
            self.denormalise(latents).flatten(0, 1),
            self.denormalise(previous).flatten(0, 1),
            *(f.repeat_interleave(num_latents, 0) for f in state.features),
        )
        frames = groups.unflatten(0, (B, -1)).flatten(1, 2)
        return frames[:, GROUP - 1 :] if first else frames, DecoderState(
            latents[:, -1], state.features
        )

    def denormalise(self, latents: Tensor) -> Tensor:
        return latents * self.std[:, None, None] + self.mean[:, None, None]

    # -- one group of 4 frames ----------------------------------------------------------------

    def encode_groups(self, groups: Tensor, previous: Tensor) -> Tensor:
        """(N, 4, 3, H, W) and the frame before each, (N, 3, H, W) -> (N, C, H/8, W/8)."""
        seen = torch.cat([previous[:, None], groups], dim=1).flatten(1, 2)
        latents: Tensor = self.encoder(seen)
        blocks = rearrange(groups, "n t c (h p) (w q) -> n h w (t c p q)", p=STRIDE, q=STRIDE)
        linear = rearrange(self.pca_encode(blocks), "n h w c -> n c h w")
        return latents + F.pad(linear, (0, 0, 0, 0, 0, self.config.free_channels))

    def decode_groups(
        self, latents: Tensor, previous: Tensor, features8: Tensor, features4: Tensor
    ) -> Tensor:
        """Latents and the ones before, (N, C, h, w), and features -> (N, 4, 3, 8h, 8w)."""
        x = self.decoder8(torch.cat([latents, latents - previous], dim=1)) + features8
        x = self.decoder4(self.up4(x) + features4)
        detail = self.decoder2(self.up2(x)).unflatten(1, (GROUP, 3))
        blocks = self.pca_decode(
            rearrange(latents[:, : self.config.pca_channels], "n c h w -> n h w c")
        )
        return detail + rearrange(
            blocks, "n h w (t c p q) -> n t c (h p) (w q)", t=GROUP, c=3, p=STRIDE, q=STRIDE
        )
