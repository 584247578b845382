"""The diffusion transformer itself: a pure function of its arguments."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avatar.models.dit.attention import KeyValue
from avatar.models.dit.audio_projection import AudioProjection
from avatar.models.dit.block import Block, FeedForward, Sources, confined
from avatar.models.dit.config import DiTConfig, S2VConfig
from avatar.models.dit.context import Context
from avatar.models.dit.estimate import linear_estimate
from avatar.models.dit.frame_audio import FrameAudioProjection
from avatar.models.dit.rope import place_angles, rope_angles, turns_of
from avatar.models.dit.s2v import AudioInjector, FramePacker, SpeechEncoder
from avatar.parallel.sequence import WHOLE, Split


@dataclass(frozen=True)
class Condition:
    """What a chunk is generated from; a session computes `fixed` once and owns it.

    `channels`: (B, F, condition_channels, H, W), joined to the noisy latents.
    `audio`: (B, F, context_tokens, context_dim) from `project_audio`; None for no speech at all.
    `role`, `pose`: of Wan-S2V's latents, see `NOISY`; (B, F, condition_channels, H, W) of a pose.
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
    role: int = 0
    pose: Tensor | None = None


NOISY, REFERENCE, MOTION = 0, 1, 2
"""Roles of Wan-S2V's tokens, each with an embedding of its own."""


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
        self.split: Split = WHOLE
        d, p = config.dim, config.patch
        size = (config.grid[0] * p, config.grid[1] * p) if config.grid else (1, 1)
        # standard deviation of what is denoised, here and there; written by training
        scale = torch.ones(
            config.latent_channels, *size, device=None if config.scales_latents else "cpu"
        )
        self.register_buffer("latent_scale", scale, persistent=config.scales_latents)
        channels = config.latent_channels + config.condition_channels
        self.patch_embedding = nn.Conv3d(channels, d, (1, p, p), (1, p, p))
        self.condition_embedder = TimeEmbedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, d) / d**0.5)
        self.proj_out = nn.Linear(d, config.latent_channels * p * p)
        if config.audio is not None:
            self.audio_projection = AudioProjection(config.audio)
        if config.frame_audio is not None:
            self.audio_proj = FrameAudioProjection(config.frame_audio)
        if config.s2v is not None:
            self._add_s2v(config.s2v)
        if config.num_controls:
            self.control_embedder = TwoLayers(config.num_controls, d)
        if config.grid is not None:
            tokens = config.grid[0] * config.grid[1]
            self.grid_embedding = nn.Parameter(torch.randn(tokens, d) * 0.02)
            if config.num_controls:
                self.grid_controls = GridControls(config.num_controls, tokens, d)

    def _add_s2v(self, config: S2VConfig) -> None:
        d, p = self.config.dim, self.config.patch
        self.cond_encoder = nn.Conv3d(config.condition_channels, d, (1, p, p), (1, p, p))
        self.casual_audio_encoder = SpeechEncoder(config, d)  # spelled as in the public files
        self.audio_injector = AudioInjector(config, d, self.config.num_heads, self.config.eps)
        self.frame_packer = FramePacker(config, self.config.latent_channels, d)
        self.trainable_cond_mask = nn.Embedding(3, d)
        for parameter in (*self.cond_encoder.parameters(), self.trainable_cond_mask.weight):
            nn.init.zeros_(parameter)

    def split_tokens(self, split: Split) -> None:
        """Share the work on every chunk with other processes, which must have the same weights.

        Raises:
            ValueError: The heads do not divide, or the model has tokens on no common grid.
        """
        if self.config.num_heads % split.size:
            raise ValueError(f"{self.config.num_heads} heads do not divide by {split.size}")
        if self.config.s2v is not None:
            raise ValueError("the references of Wan-S2V cannot be split among processes")
        self.split = split

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
        """What F latents hear, (B, F, tokens, dim).

        Of speech with `reach` latents on either side, (B, F + 2 reach, tokens, dim); with
        `frame_audio` see `FrameAudioProjection`, with `s2v` see `SpeechEncoder`.
        """
        if self.config.frame_audio is not None:
            context: Tensor = self.audio_proj(speech)
        elif self.config.s2v is not None:
            context = self.casual_audio_encoder(speech)
        else:
            context = self.audio_projection(speech)
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
        if c.s2v is not None:
            x = x + self.marks(condition)
        time, time6 = self.embed_time(timestep, num_frames, condition.controls)
        own_turns = turns_of(rope_angles(_tensor(positions, x), grid, c.head_dim))
        key_angles = rope_angles(_tensor(context.positions + positions, x), grid, c.head_dim)
        if context.places is not None:
            key_angles = torch.cat([place_angles(context.places, c.head_dim), key_angles])
        if self.split.size > 1:
            mask = condition.face_mask
            x = self.split.part(x, 2)
            mask = None if mask is None else self.split.part(mask, 1)
            condition = replace(condition, face_mask=mask)
        key_turns = turns_of(key_angles)
        x, own_kv = self.through_blocks(x, time6, own_turns, key_turns, context, condition)
        return self.head(x, time, grid), own_kv

    def through_blocks(
        self,
        x: Tensor,
        time6: Tensor,
        own_turns: Tensor,
        key_turns: Tensor,
        context: Context,
        condition: Condition,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Tokens (B, F, n, dim) and time (B, F, 6, dim) -> tokens, and each layer's own keys."""
        words, picture = self.embed_fixed(condition.text, condition.image)
        own_kv: list[KeyValue] = []
        hears = self.config.s2v is None
        for i, block in enumerate(self.layers):
            fixed = condition.fixed[i] if condition.fixed else ()
            audio = condition.audio if hears else None
            sources = Sources(fixed, words, picture, audio, condition.face_mask, self.split)
            x, kv = block(x, time6, context, i, (own_turns, key_turns), sources)
            own_kv.append(kv)
            if not hears and condition.audio is not None:
                x = self.inject(i, x, condition.audio, condition.face_mask)
        return x, own_kv

    # -- Wan-S2V --------------------------------------------------------------------------------

    def marks(self, condition: Condition) -> Tensor:
        """What tells tokens of a role from others, and a pose; broadcasts to (B, F, n, dim)."""
        mark: Tensor = self.trainable_cond_mask.weight[condition.role]
        if condition.pose is None:
            return mark
        return mark + self.patches(condition.pose, self.cond_encoder)

    def inject(self, layer: int, x: Tensor, audio: Tensor, face_mask: Tensor | None) -> Tensor:
        """Speech of F latents, (B, F, tokens, dim), acts on the first F frames' tokens of x."""
        if layer not in self.audio_injector.place:
            return x
        heard = self.audio_injector(layer, x, audio)
        return x + confined(heard, face_mask)

    def embed(
        self, latents: Tensor, timestep: Tensor, channels: Tensor, controls: Tensor | None
    ) -> Tensor:
        """(B, F, C, H, W), (B,), the same with other channels, and (B, F, num_controls).

        Returns:
            Tokens (B, F, n, dim).
        """
        if self.config.prediction == "x0":
            latents = latents * linear_estimate(timestep[:, None, None, None, None] / 1000)
        x = self.patches(torch.cat([latents, channels], dim=2), self.patch_embedding)
        if self.config.grid is not None:
            x = x + self.grid_embedding
            if controls is not None:
                x = x + self.grid_controls(controls)
        return x

    def patches(self, latents: Tensor, layer: nn.Conv3d) -> Tensor:
        """(B, F, C, H, W) -> tokens (B, F, n, dim)."""
        p = self.config.patch
        patches = rearrange(latents, "b f c (h p) (w q) -> b f (h w) (c p q)", p=p, q=p)
        # patches do not overlap, so the convolution is a linear layer; conv3d is slow on CPU
        return F.linear(patches, layer.weight.flatten(1), layer.bias)

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
            self.split.joined(self.proj_out(y), 2),
            "b f (h w) (p q c) -> b f c (h p) (w q)",
            h=grid[0],
            w=grid[1],
            p=self.config.patch,
            q=self.config.patch,
        )


def _tensor(positions: tuple[int, ...], like: Tensor) -> Tensor:
    if like.device.type != "cuda":
        return torch.tensor(positions, device=like.device)
    places = torch.tensor(positions).pin_memory()
    return places.to(like.device, non_blocking=True)  # waits for nothing queued
