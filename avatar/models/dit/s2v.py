"""What Wan2.2-S2V has beside its text-to-video core, under the names of its files."""

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avatar.models.dit.attention import CrossAttention
from avatar.models.dit.config import S2VConfig


class CausalConv(nn.Module):
    """Three taps over time, (B, T, C) -> (B, ceil(T / stride), D); before the first, itself."""

    def __init__(self, in_dim: int, out_dim: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_dim, out_dim, 3, stride)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x.transpose(1, 2), (2, 0), mode="replicate")
        y: Tensor = self.conv(padded).transpose(1, 2)
        return y


class SpeechConvolutions(nn.Module):
    """Speech of video frames to local tokens and a global one for each latent frame."""

    def __init__(self, config: S2VConfig, dim: int) -> None:
        super().__init__()
        self.num_tokens = config.audio_tokens
        self.conv1_local = CausalConv(config.audio_dim, dim // 4 * config.audio_tokens)
        self.conv1_global = CausalConv(config.audio_dim, dim // 4)
        self.conv2 = CausalConv(dim // 4, dim // 2, 2)
        self.conv3 = CausalConv(dim // 2, dim, 2)
        self.final_linear = nn.Linear(dim, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, audio_dim) -> (B, F, audio_tokens + 2, dim): local, padding, global."""
        local = rearrange(self.conv1_local(x), "b t (n c) -> (b n) t c", n=self.num_tokens)
        local = rearrange(self._rest(local), "(b n) f c -> b f n c", n=self.num_tokens)
        whole = self.final_linear(self._rest(self.conv1_global(x)))[:, :, None]
        padding = self.padding_tokens.expand(*local.shape[:2], -1, -1)
        return torch.cat([local, padding, whole], 2)

    def _rest(self, x: Tensor) -> Tensor:
        x = _normed(x)
        x = _normed(self.conv2(x))
        return _normed(self.conv3(x))


def _normed(x: Tensor) -> Tensor:
    return F.silu(F.layer_norm(x, x.shape[-1:], eps=1e-6))


class SpeechEncoder(nn.Module):
    """A learned mean over wav2vec2's layers, then causal convolutions to the latents' rate.

    Latent j depends on the video frames 4j - 5 to 4j + 3 and no other: it looks nowhere ahead.
    """

    def __init__(self, config: S2VConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.weights = nn.Parameter(torch.full((1, config.audio_layers, 1, 1), 0.01))
        self.encoder = SpeechConvolutions(config, dim)

    def forward(self, speech: Tensor) -> Tensor:
        """(B, left_frames + 4 F, audio_layers, audio_dim) -> (B, F, audio_tokens + 2, dim)."""
        weights = F.silu(self.weights).view(-1, 1)
        mixed = (speech * weights).sum(2) / weights.sum()
        skipped = (self.config.left_frames + 3) // self.config.frames_per_latent
        tokens: Tensor = self.encoder(mixed)[:, skipped:]
        return tokens


class AdaptiveNorm(nn.Module):
    """Layer norm whose shift and scale come from the global speech token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 2 * dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, whole: Tensor) -> Tensor:
        """X (B, F, n, dim), whole (B, F, 1, dim)."""
        shift, scale = self.linear(F.silu(whole)).chunk(2, -1)
        return F.layer_norm(x, x.shape[-1:], eps=1e-5) * (1 + scale) + shift


class AudioInjector(nn.Module):
    """Cross-attention to speech after some of the blocks; its output starts at zero."""

    def __init__(self, config: S2VConfig, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.place = {layer: place for place, layer in enumerate(config.inject_layers)}
        attend = [
            CrossAttention(dim, num_heads, eps, has_text=True, has_image=False, audio_dim=None)
            for _ in config.inject_layers
        ]
        self.injector = nn.ModuleList(attend)
        self.injector_adain_layers = nn.ModuleList(AdaptiveNorm(dim) for _ in config.inject_layers)
        for each in attend:
            for parameter in each.to_out.parameters():
                nn.init.zeros_(parameter)

    def forward(self, layer: int, x: Tensor, audio: Tensor) -> Tensor:
        """What speech (B, F, audio_tokens + 2, dim) adds to x (B, F, n, dim) after `layer`."""
        attend = cast(CrossAttention, self.injector[self.place[layer]])
        local, whole = audio[:, :, :-1], audio[:, :, -1:]
        query = self.injector_adain_layers[self.place[layer]](x, whole)
        words = attend.project_text(local.flatten(0, 1))
        heard: Tensor = attend(query.flatten(0, 1)[:, None], (words,), None, None)
        return heard[:, 0].unflatten(0, x.shape[:2])


class FramePacker(nn.Module):
    """Past latent frames as few tokens, the fewer the longer ago."""

    def __init__(self, config: S2VConfig, channels: int, dim: int) -> None:
        super().__init__()
        self.buckets = config.frame_buckets
        self.proj = nn.Conv3d(channels, dim, (1, 2, 2), (1, 2, 2))
        self.proj_2x = nn.Conv3d(channels, dim, (2, 4, 4), (2, 4, 4))
        self.proj_4x = nn.Conv3d(channels, dim, (4, 8, 8), (4, 8, 8))

    def forward(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """(B, sum of the buckets, C, H, W), oldest first -> tokens (B, L, dim), places (L, 3)."""
        if motion.shape[1] != sum(self.buckets):
            raise ValueError(
                f"{motion.shape[1]} motion latents given, {sum(self.buckets)} expected"
            )
        frames = motion.transpose(1, 2)
        grid = (motion.shape[-2] // 2, motion.shape[-1] // 2)
        packed, places, end = [], [], 0
        for size, layer in zip(self.buckets, (self.proj, self.proj_2x, self.proj_4x), strict=True):
            taken = frames[:, :, frames.shape[2] - end - size : frames.shape[2] - end]
            tokens = layer(taken)
            end += size
            axes = [
                _stretched(-end, -end + size, tokens.shape[2]),
                _stretched(0, grid[0], tokens.shape[3]),
                _stretched(0, grid[1], tokens.shape[4]),
            ]
            places.append(torch.cartesian_prod(*axes))
            packed.append(tokens.flatten(2).transpose(1, 2))
        return torch.cat(packed, 1), torch.cat(places).to(motion.device)


def _stretched(first: int, end: int, count: int) -> Tensor:
    """`count` whole places from `first` to `end` - 1, as the weights were trained on them."""
    return torch.linspace(first, end - 1, count, dtype=torch.float64).trunc()
