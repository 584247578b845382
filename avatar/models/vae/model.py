"""A causal video VAE of 2D convolutions that codes movement around a still reference picture.

Groups of 4 frames become one latent frame; the first latent of a stream is one frame alone, so
81 frames are 21 latents. On CPU conv3d is several times slower than conv2d: time is folded into
channels at 1/8 of the resolution and into the batch above it, where each frame has its own
features and all share their weights.

The linear path is a principal component analysis of what *differs from the reference*. One of
whole pictures spends its components on edges that never move, and none on the mouth's movement
within a group.
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
SLOPE = 0.1
"""Of the leaky ReLUs: on CPU SiLU took a seventh of the time of a training step."""


@dataclass(frozen=True)
class VAEConfig:
    """Widths, from fine to coarse in the encoder and from coarse to fine in the decoder.

    `encoder_dims`: a frame at 1/4, a frame at 1/8, the group at 1/8.
    `decoder_dims`: the group at 1/8, a frame at 1/4, a frame at 1/2.
    """

    latent_channels: int = 24
    encoder_dims: tuple[int, int, int] = (32, 64, 96)
    decoder_dims: tuple[int, int, int] = (128, 48, 16)
    reference_dim: int = 64


@dataclass(frozen=True)
class EncoderState:
    """Whether the stream's first latent, which is one frame alone, has been encoded."""

    started: bool = False


@dataclass(frozen=True)
class Reference:
    """The still picture that a stream moves: pixels, their latent, features at 1/8, 1/4, 1/2."""

    pixels: Tensor
    latent: Tensor
    features: tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class DecoderState:
    """Last latent decoded, None before the first, and the stream's reference."""

    last_latent: Tensor | None
    reference: Reference


class Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]  # bias is on

    def forward(self, x: Tensor) -> Tensor:
        return add(x, self.conv2(activate(self.conv1(F.leaky_relu(x, SLOPE)))))


class VAE(nn.Module):
    """Encode and decode chunk by chunk; a decoder's state carries one latent of the past."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        C, r = config.latent_channels, config.reference_dim
        e4, e8, e = config.encoder_dims
        d8, d4, d2 = config.decoder_dims
        block = 3 * GROUP * STRIDE * STRIDE
        self.linear_encode = nn.Linear(block, C)
        self.linear_decode = nn.Linear(C, block, bias=False)
        self.encode_frame = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, e4, 3, padding=1),
            Residual(e4),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(e4, e8, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.encode_group = nn.Sequential(
            nn.Conv2d(GROUP * e8, e, 1),
            Residual(e),
            Residual(e),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(e, C, 3, padding=1),
        )
        self.reference2 = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, d2, 3, padding=1))
        self.reference4 = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, r, 3, padding=1), Residual(r)
        )
        self.reference4_out = nn.Conv2d(r, d4, 1)
        self.reference8 = nn.Conv2d(r, d8, 4, stride=2, padding=1)
        self.decoder8 = nn.Sequential(Residual(d8), Residual(d8))
        self.decoder8_in = nn.Conv2d(2 * C, d8, 3, padding=1)
        self.up4 = nn.Linear(d8, GROUP * 4 * d4)
        self.decoder4 = nn.Sequential(Residual(d4))
        self.up2 = nn.Linear(d4, 4 * d2)
        self.to_pixels = nn.Conv2d(d2, 12, 3, padding=1)
        # the linear path alone at first
        nn.init.zeros_(self.to_pixels.weight)
        nn.init.zeros_(self.to_pixels.bias)  # type: ignore[arg-type]  # bias is on
        self.register_buffer("mean", torch.zeros(C))
        self.register_buffer("std", torch.ones(C))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it

    # -- streams ------------------------------------------------------------------------------

    def encode(self, frames: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Frames (B, T, 3, H, W) in [-1, 1] -> normalised latents (B, F, C, H/8, W/8).

        T is 1 + 4k at the beginning of a stream and 4k after it; F is 1 + k, or k.
        """
        T = frames.shape[1]
        if T % GROUP != (0 if state.started else 1):
            start = "4k within" if state.started else "1 + 4k at the beginning of"
            raise ValueError(f"{T} frames given, {start} a stream expected")
        if not state.started:
            frames = torch.cat([frames[:, :1].expand(-1, GROUP - 1, -1, -1, -1), frames], dim=1)
        groups = frames.unflatten(1, (-1, GROUP))
        latents = self.encode_groups(groups.flatten(0, 1))
        return latents.unflatten(0, groups.shape[:2]), EncoderState(started=True)

    def init_decoder(self, picture: Tensor) -> DecoderState:
        """State at the beginning of a stream whose first frame is `picture`, (B, 3, H, W)."""
        still = picture[:, None].expand(-1, GROUP, -1, -1, -1)
        quarter = self.reference4(channels_last(picture))
        return DecoderState(
            None,
            Reference(
                picture,
                self.encode_groups(still),
                (
                    self.reference8(F.leaky_relu(quarter, SLOPE)),
                    self.reference4_out(quarter),
                    self.reference2(channels_last(picture)),
                ),
            ),
        )

    def decode(self, latents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Normalised latents (B, F, C, h, w) -> frames (B, T, 3, 8h, 8w) in about [-1, 1].

        T is 4 F - 3 at the beginning of a stream (its first latent is one frame) and 4 F after it.
        """
        first = state.last_latent is None
        previous = latents[:, 0] if state.last_latent is None else state.last_latent
        groups = []
        # one latent at a time: a group's features stay in the processor's cache
        for latent in latents.unbind(1):
            groups.append(self.decode_group(latent, previous, state.reference))
            previous = latent
        frames = torch.cat(groups, 1)
        return frames[:, GROUP - 1 :] if first else frames, DecoderState(previous, state.reference)

    # -- one group of 4 frames ----------------------------------------------------------------

    def encode_groups(self, groups: Tensor) -> Tensor:
        """(N, 4, 3, H, W) in [-1, 1] -> normalised (N, C, H/8, W/8)."""
        each = self.encode_frame(channels_last(groups.flatten(0, 1)))
        joined = rearrange(each, "(n t) c h w -> n (t c) h w", t=GROUP)
        blocks = rearrange(groups, "n t c (h p) (w q) -> n h w (t c p q)", p=STRIDE, q=STRIDE)
        linear = rearrange(self.linear_encode(blocks), "n h w c -> n c h w")
        latents: Tensor = self.encode_group(channels_last(joined)) + linear
        return (latents - self.mean[:, None, None]) / self.std[:, None, None]

    def decode_group(self, latents: Tensor, previous: Tensor, reference: Reference) -> Tensor:
        """Normalised latents and the ones before, (N, C, h, w) -> (N, 4, 3, 8h, 8w)."""
        eighth, quarter, half = reference.features
        moved = (latents - reference.latent) * self.std[:, None, None]
        change = (latents - previous) * self.std[:, None, None]
        x = self.decoder8_in(channels_last(torch.cat([moved, change], dim=1)))
        x = activate(self.decoder8(add(x, eighth)))
        x = shuffle(self.up4(rearrange(x, "n c h w -> n h w c")), frames=GROUP)
        x = activate(self.decoder4(add(x, repeat(quarter))))
        x = shuffle(self.up2(rearrange(x, "n c h w -> n h w c")), frames=1)
        x = self.to_pixels(activate(add(x, repeat(half))))
        blocks = self.linear_decode(rearrange(moved, "n c h w -> n h w c"))
        linear = rearrange(
            blocks, "n h w (t c p q) -> n t c (h p) (w q)", t=GROUP, c=3, p=STRIDE, q=STRIDE
        )
        detail = rearrange(x, "(n t) (c p q) h w -> n t c (h p) (w q)", t=GROUP, p=2, q=2)
        return add(add(detail, linear), reference.pixels[:, None])


def channels_last(x: Tensor) -> Tensor:
    """The layout in which convolutions are fast on CPU."""
    return x.contiguous(memory_format=torch.channels_last)


def shuffle(x: Tensor, frames: int) -> Tensor:
    """(N, h, w, frames * 4 C) -> (N * frames, C, 2h, 2w), channels last in memory."""
    pixels = rearrange(x, "n h w (t p q c) -> (n t) (h p) (w q) c", t=frames, p=2, q=2)
    return pixels.permute(0, 3, 1, 2)


def repeat(features: Tensor) -> Tensor:
    """The reference's features once for each frame of a group; a view where one is decoded."""
    if len(features) == 1:
        return features
    return features.repeat_interleave(GROUP, 0)


def add(x: Tensor, y: Tensor) -> Tensor:
    """Sum, in x's memory where no gradient is asked for: half of decoding is memory traffic."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU; as with `add`, x must be nobody else's."""
    return F.leaky_relu(x, SLOPE, inplace=not torch.is_grad_enabled())
