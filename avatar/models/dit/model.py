"""The diffusion transformer itself: a pure function of its arguments."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avatar.models.dit.attention import KeyValue
from avatar.models.dit.audio_projection import AudioProjection
from avatar.models.dit.block import Block, FeedForward, Sources
from avatar.models.dit.config import DiTConfig
from avatar.models.dit.context import Context
from avatar.models.dit.estimate import linear_estimate
from avatar.models.dit.rope import rope_angles


@dataclass(frozen=True)
class Condition:
    """What a chunk is generated from; a session computes `fixed` once and owns it.

    `channels`: (B, F, condition_channels, H, W), joined to the noisy latents.
    `audio`: (B, F, context_tokens, context_dim) from `project_audio`; None for no speech at all.
    `face_mask`: (B, tokens) in {0, 1}, where speech may act.
    `controls`: (B, F, num_controls), or None where the model has none.
    `fixed`: for each layer the keys and values of text and image; or, where how they are made is
    learned, `text` (B, L, text_dim) and `image` (B, L, image_dim) themselves.
    """

    channels: Tensor
    audio: Tensor | None = None
    face_mask: Tensor | None = None
    controls: Tensor | None = None
    fixed: Sequence[tuple[KeyValue, ...]] = ()
    text: Tensor | None = None
    image: Tensor | None = None


class TimeEmbedding(nn.Module):
    """Timestep, text and image embedders, named as in diffusers."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d = config.dim
        self.frequency_dim = config.frequency_dim
        self.time_embedder = TwoLayers(config.frequency_dim, d)
        self.time_proj = nn.Linear(d, 6 * d)
        if config.text_dim is not None:
            self.text_embedder = TwoLayers(config.text_dim, d, "gelu")
        if config.image_dim is not None:
            self.image_embedder = ImageEmbedder(config.image_dim, d)

    def forward(self, timestep: Tensor) -> Tensor:
        """(B,) in [0, 1000] -> (B, dim)."""
        half = self.frequency_dim // 2
        exponent = torch.arange(half, device=timestep.device).float() / half
        angles = timestep.float()[:, None] * torch.exp(-math.log(10_000.0) * exponent)
        table = torch.cat([angles.cos(), angles.sin()], dim=1)
        y: Tensor = self.time_embedder(table)
        return y


class TwoLayers(nn.Module):
    """Two linear layers with an activation between them, under diffusers' names."""

    def __init__(self, in_dim: int, dim: int, activation: Literal["silu", "gelu"] = "silu") -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.linear_1(x)
        active = F.silu(hidden) if self.activation == "silu" else F.gelu(hidden, approximate="tanh")
        y: Tensor = self.linear_2(active)
        return y


class ImageEmbedder(nn.Module):
    """Wan I2V's projection of CLIP tokens."""

    def __init__(self, image_dim: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(image_dim)
        self.ff = FeedForward(image_dim, image_dim, dim, approximate="none")
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        y: Tensor = self.norm2(self.ff(self.norm1(image)))
        return y


class GridControls(nn.Module):
    """What each control means at each token: a gaze moves the eyes and nothing else.

    Through the modulation alone, which all tokens share, that takes many times longer to learn.
    """

    def __init__(self, num_controls: int, tokens: int, dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.tokens = tokens
        self.linear_1 = nn.Linear(num_controls, hidden_dim)
        self.linear_2 = nn.Linear(hidden_dim, tokens * dim)
        nn.init.zeros_(self.linear_2.weight)
        nn.init.zeros_(self.linear_2.bias)

    def forward(self, controls: Tensor) -> Tensor:
        """(B, F, num_controls) -> (B, F, n, dim)."""
        y: Tensor = self.linear_2(F.silu(self.linear_1(controls)))
        return y.unflatten(-1, (self.tokens, -1))


class DiT(nn.Module):
    """Wan-style video transformer with audio cross-attention in every block.

    Predicts the velocity noise - x0, or x0 itself, as `config.prediction` says.
    """

    latent_scale: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        d, p = config.dim, config.patch
        size = (config.grid[0] * p, config.grid[1] * p) if config.grid else (1, 1)
        # standard deviation of what is denoised, here and there; written by training
        self.register_buffer("latent_scale", torch.ones(config.latent_channels, *size))
        channels = config.latent_channels + config.condition_channels
        self.patch_embedding = nn.Conv3d(channels, d, (1, p, p), (1, p, p))
        self.condition_embedder = TimeEmbedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, d) / d**0.5)
        self.proj_out = nn.Linear(d, config.latent_channels * p * p)
        if config.audio is not None:
            self.audio_projection = AudioProjection(config.audio)
        if config.num_controls:
            self.control_embedder = TwoLayers(config.num_controls, d)
        if config.grid is not None:
            tokens = config.grid[0] * config.grid[1]
            self.grid_embedding = nn.Parameter(torch.randn(tokens, d) * 0.02)
            if config.num_controls:
                self.grid_controls = GridControls(config.num_controls, tokens, d)

    @property
    def layers(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    # -- computed once, or once a chunk ---------------------------------------------------------

    def project_fixed(
        self, text: Tensor | None = None, image: Tensor | None = None
    ) -> tuple[tuple[KeyValue, ...], ...]:
        """Keys and values of text (B, L, text_dim) and image (B, L, image_dim), for each layer."""
        words, picture = self.embed_fixed(text, image)
        return tuple(block.attn2.project_fixed(words, picture) for block in self.layers)

    def embed_fixed(
        self, text: Tensor | None, image: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The tokens (B, L, dim) of both, for blocks that project them themselves."""
        embedder = self.condition_embedder
        words = None if text is None else embedder.text_embedder(text)
        return words, None if image is None else embedder.image_embedder(image)

    def project_audio(self, speech: Tensor) -> Tensor:
        """Speech with `reach` latents on either side, (B, F + 2 reach, tokens, dim) -> context."""
        context: Tensor = self.audio_projection(speech)
        return context

    # -- one forward ----------------------------------------------------------------------------

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        condition: Condition,
        context: Context,
        positions: tuple[int, ...],
    ) -> tuple[Tensor, list[KeyValue]]:
        """Predict from noisy latents, and hand back this chunk's keys and values.

        Args:
            latents: (B, F, C, H, W).
            timestep: (B,) in [0, 1000]; one noise level for the whole chunk.
            condition: What to generate.
            context: The past that may be seen.
            positions: Place in time of each of the F latent frames.

        Returns:
            The prediction, shaped as `latents`, and for each layer the un-roped keys and values.
        """
        B, num_frames, _, H, W = latents.shape
        p, c = self.config.patch, self.config
        grid = (H // p, W // p)
        x = self.embed(latents, timestep, condition.channels, condition.controls)
        time, time6 = self.embed_time(timestep, num_frames, condition.controls)
        angles = (
            rope_angles(_tensor(positions, x), grid, c.head_dim),
            rope_angles(_tensor(context.positions + positions, x), grid, c.head_dim),
        )
        words, picture = self.embed_fixed(condition.text, condition.image)
        own_kv: list[KeyValue] = []
        for i, block in enumerate(self.layers):
            fixed = condition.fixed[i] if condition.fixed else ()
            sources = Sources(fixed, words, picture, condition.audio, condition.face_mask)
            x, kv = block(x, time6, context, i, angles, sources)
            own_kv.append(kv)
        return self.head(x, time, grid), own_kv

    def embed(
        self, latents: Tensor, timestep: Tensor, channels: Tensor, controls: Tensor | None
    ) -> Tensor:
        """(B, F, C, H, W), (B,), the same with other channels, and (B, F, num_controls).

        Returns:
            Tokens (B, F, n, dim).
        """
        p = self.config.patch
        if self.config.prediction == "x0":
            latents = latents * linear_estimate(timestep[:, None, None, None, None] / 1000)
        joined = torch.cat([latents, channels], dim=2)
        patches = rearrange(joined, "b f c (h p) (w q) -> b f (h w) (c p q)", p=p, q=p)
        # patches do not overlap, so the convolution is a linear layer; conv3d is slow on CPU
        x = F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)
        if self.config.grid is not None:
            x = x + self.grid_embedding
            if controls is not None:
                x = x + self.grid_controls(controls)
        return x

    def embed_time(
        self, timestep: Tensor, num_frames: int, controls: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(B, F, dim) and its projection (B, F, 6, dim)."""
        time = self.condition_embedder(timestep)[:, None].expand(-1, num_frames, -1)
        if controls is not None:
            time = time + self.control_embedder(controls)
        time6 = self.condition_embedder.time_proj(F.silu(time)).unflatten(2, (6, -1))
        return time, time6

    def head(self, x: Tensor, time: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (B, F, n, dim) -> (B, F, C, H, W)."""
        shift, scale = (self.scale_shift_table + time.unsqueeze(2)).unsqueeze(3).unbind(2)
        y = F.layer_norm(x, (self.config.dim,), eps=self.config.eps) * (1 + scale) + shift
        return rearrange(
            self.proj_out(y),
            "b f (h w) (p q c) -> b f c (h p) (w q)",
            h=grid[0],
            w=grid[1],
            p=self.config.patch,
            q=self.config.patch,
        )


def _tensor(positions: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor(positions, device=like.device)
