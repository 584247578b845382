"""The Wan VAE over a stream: the caches of its causal convolutions belong to the session.

The modules are diffusers' and so are the names of the weights (`AutoencoderKLWan`). Its own
`encode` and `decode` begin a new stream at each call, which would show as a flash at each chunk.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avatar.models.vae_wan.config import WanVAEConfig

GROUP = 4
"""Frames in one latent frame; the first latent of a stream is one frame alone."""
STRIDE = 8
"""Pixels along one side of a latent cell."""

Cache = tuple[Any, ...]
"""What each causal convolution has seen last: None, a marker of diffusers, or (B, C, t, h, w)."""


@dataclass(frozen=True)
class WanDecoderState:
    """Past of a stream of latents; empty before its first."""

    cache: Cache = ()


@dataclass(frozen=True)
class WanEncoderState:
    """Past of a stream of frames; empty before its first."""

    cache: Cache = ()


class WanVAE(nn.Module):
    """Encode and decode chunk by chunk; chunks of any sizes give what the whole would."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        # here: it takes seconds and 150 MB, and the default avatar needs none of it
        from diffusers import AutoencoderKLWan

        self.config = config
        inner = AutoencoderKLWan(
            base_dim=config.base_dim,
            z_dim=config.latent_channels,
            dim_mult=list(config.dim_mult),
            num_res_blocks=config.num_res_blocks,
            temperal_downsample=list(config.halves_time),
            latents_mean=list(config.latents_mean),
            latents_std=list(config.latents_std),
        )
        self.encoder, self.quant_conv = inner.encoder, inner.quant_conv
        self.post_quant_conv, self.decoder = inner.post_quant_conv, inner.decoder
        self._num_caches = dict(inner._cached_conv_counts)
        # real numbers even where the weights are built without memory (the meta device)
        for name, values in (("mean", config.latents_mean), ("std", config.latents_std)):
            statistics = torch.tensor(values, device="cpu").view(1, 1, -1, 1, 1)
            self.register_buffer(name, statistics, persistent=False)

    def init_decoder(self) -> WanDecoderState:
        return WanDecoderState()

    def init_encoder(self) -> WanEncoderState:
        return WanEncoderState()

    def primed_decoder(self, sink_latents: Tensor) -> WanDecoderState:
        """State after the sink (1, S, C, h, w), which is never played: all after it is whole."""
        return self.decode_parts(sink_latents, self.init_decoder())[1]

    def decode(self, latents: Tensor, state: WanDecoderState) -> tuple[Tensor, WanDecoderState]:
        """Normalised latents (B, F, C, h, w) -> frames (B, T, 3, 8h, 8w) in [-1, 1].

        T is 4 F - 3 at the beginning of a stream (its first latent is one frame) and 4 F after it.
        """
        parts, following = self.decode_parts(latents, state)
        return torch.cat(parts, 1), following

    def decode_parts(
        self, latents: Tensor, state: WanDecoderState
    ) -> tuple[list[Tensor], WanDecoderState]:
        """`decode`, its frames in pieces as they were made: (B, 1 or 4, 3, 8h, 8w) a latent."""
        channels = self.config.latent_channels
        if latents.ndim != 5 or latents.shape[2] != channels or latents.shape[1] == 0:
            raise ValueError(f"latents {tuple(latents.shape)} given, (B, F, {channels}, h, w)")
        z = (latents * self.std + self.mean).to(self.post_quant_conv.weight.dtype)
        cache = self._begun(state.cache, "decoder")
        first, parts = not state.cache, []
        # one at a time, the 1x1 convolution too: over more of them at once it may round otherwise
        for latent in z.transpose(1, 2).split(1, dim=2):
            x = self.post_quant_conv(latent)
            x = self.decoder(x, feat_cache=cache, feat_idx=[0], first_chunk=first)
            parts.append(x.transpose(1, 2).clamp(-1, 1))
            first = False
        return parts, WanDecoderState(tuple(cache))

    def encode(self, frames: Tensor, state: WanEncoderState) -> tuple[Tensor, WanEncoderState]:
        """Frames (B, T, 3, H, W) in [-1, 1] -> normalised latents (B, F, C, H/8, W/8).

        T is 1 + 4k at the beginning of a stream and 4k after it; F is 1 + k, or k. The most
        probable latent, no sample of the distribution.
        """
        _, T, channels, H, W = frames.shape
        begins = not state.cache
        if T == 0 or T % GROUP != (1 if begins else 0):
            start = "1 + 4k at the beginning of" if begins else "4k within"
            raise ValueError(f"{T} frames given, {start} a stream expected")
        if channels != 3 or H % STRIDE or W % STRIDE:
            raise ValueError(f"frames {tuple(frames.shape)} given, (B, T, 3, 8h, 8w) expected")
        x = frames.to(self.quant_conv.weight.dtype).transpose(1, 2)
        cache = self._begun(state.cache, "encoder")
        groups = [1] * begins + [GROUP] * (T // GROUP)
        encoded = [
            self.quant_conv(self.encoder(group, feat_cache=cache, feat_idx=[0]))
            for group in x.split(groups, dim=2)
        ]
        mean, _ = torch.cat(encoded, 2).transpose(1, 2).chunk(2, dim=2)
        return (mean - self.mean) / self.std, WanEncoderState(tuple(cache))

    def _begun(self, cache: Cache, part: str) -> list[Any]:
        """A list of its own for diffusers to write to: it replaces entries, and changes none."""
        return list(cache) if cache else [None] * self._num_caches[part]
