"""One transformer block: self-attention, cross-attention, feed-forward, modulated by time."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.dit.attention import CrossAttention, KeyValue, SelfAttention
from avatar.models.dit.config import DiTConfig
from avatar.models.dit.frame_audio import FrameAudioAttention


class FeedForward(nn.Module):
    """Linear, GELU, linear; named as in diffusers, so that Wan's weights fit."""

    def __init__(self, in_dim: int, ffn_dim: int, out_dim: int, approximate: str = "tanh") -> None:
        super().__init__()
        first = GeluProjection(in_dim, ffn_dim, approximate)
        self.net = nn.ModuleList([first, nn.Identity(), nn.Linear(ffn_dim, out_dim)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class GeluProjection(nn.Module):
    """Linear and GELU, as diffusers nests it."""

    def __init__(self, in_dim: int, dim: int, approximate: str = "tanh") -> None:
        super().__init__()
        self.proj = nn.Linear(in_dim, dim)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate=self.approximate)


class Block(nn.Module):
    """`modulation` is (B, F, 6, dim): a shift, scale and gate for attention and feed-forward."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d = config.dim
        self.dim, self.eps = d, config.eps
        self.attn1 = SelfAttention(d, config.num_heads, config.eps)
        self.attn2 = CrossAttention(
            d,
            config.num_heads,
            config.eps,
            has_text=config.text_dim is not None,
            has_image=config.image_dim is not None,
            audio_dim=config.audio.context_dim if config.audio else None,
        )
        self.norm2 = nn.LayerNorm(d, config.eps)
        self.hears_frames = config.frame_audio is not None
        if config.frame_audio is not None:
            self.norm_x = nn.LayerNorm(d, config.eps)
            self.audio_cross_attn = FrameAudioAttention(
                d, config.frame_audio.context_dim, config.num_heads
            )
        self.ffn = FeedForward(d, config.ffn_dim, d)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, d) / d**0.5)

    def modulation(self, time: Tensor) -> tuple[Tensor, ...]:
        """(B, F, 6, dim) -> six of (B, F, 1, dim)."""
        return (self.scale_shift_table + time).unsqueeze(3).unbind(2)

    def normed(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return F.layer_norm(x, (self.dim,), eps=self.eps) * (1 + scale) + shift

    def before_attention(
        self, x: Tensor, modulation: tuple[Tensor, ...]
    ) -> tuple[Tensor, KeyValue]:
        """X (B, F, n, dim) -> queries, keys and values, (B, F n, dim)."""
        return self.attn1.project(self.normed(x, modulation[0], modulation[1]).flatten(1, 2))

    def after_attention(
        self,
        x: Tensor,
        attended: Tensor,
        modulation: tuple[Tensor, ...],
        fixed: tuple[KeyValue, ...],
        audio: Tensor | None,
        face_mask: Tensor | None,
    ) -> Tensor:
        """Residuals of attention, cross-attention and feed-forward."""
        _, _, gate, ffn_shift, ffn_scale, ffn_gate = modulation
        x = x + attended.unflatten(1, x.shape[1:3]) * gate
        if self.hears_frames:
            x = x + self.attn2(self.norm2(x), fixed, None, None)
            if audio is not None:
                x = x + confined(self.audio_cross_attn(self.norm_x(x), audio), face_mask)
        else:
            x = x + self.attn2(self.norm2(x), fixed, audio, face_mask)
        return x + self.ffn(self.normed(x, ffn_shift, ffn_scale)) * ffn_gate


def confined(heard: Tensor, face_mask: Tensor | None) -> Tensor:
    """What speech adds, (B, F, n, dim), where the mask (B, n) lets it."""
    return heard if face_mask is None else heard * face_mask[:, None, :, None]
