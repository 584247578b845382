"""One transformer block: self-attention, cross-attention, feed-forward, modulated by time."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.dit.attention import CrossAttention, KeyValue, SelfAttention
from avatar.models.dit.config import DiTConfig
from avatar.models.dit.context import Context
from avatar.models.dit.frame_audio import FrameAudioAttention
from avatar.parallel.sequence import WHOLE, Split


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


class Sources(NamedTuple):
    """What a block attends to beside its own tokens: speech, text and image.

    `fixed`: keys and values of text and image that were computed once a session. Where there are
    none, the block projects `words` and `picture`, (B, L, dim), itself: training learns how. Where
    tokens are `split` among processes, `face_mask` is of this one's.
    """

    fixed: tuple[KeyValue, ...] = ()
    words: Tensor | None = None
    picture: Tensor | None = None
    audio: Tensor | None = None
    face_mask: Tensor | None = None
    split: Split = WHOLE


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

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        context: Context,
        layer: int,
        turns: tuple[Tensor, Tensor],
        sources: Sources,
    ) -> tuple[Tensor, KeyValue]:
        """One layer, whole: what is sharded, compiled or computed again in the backward pass.

        Args:
            x: Tokens (B, F, n, dim).
            time: (B, F, 6, dim).
            context: The past that may be seen.
            layer: Which of the context's layers this is.
            turns: Of the queries, and of all keys, of which the last ones are those seen.
            sources: What else is attended to.

        Returns:
            Tokens, and their un-roped keys and values.
        """
        modulation = self.modulation(time)
        split, num_frames = sources.split, x.shape[1]
        query, kv = self.before_attention(x, modulation)
        query = split.to_heads(query, num_frames)
        kv = KeyValue(*(split.to_heads(each, num_frames) for each in kv))
        seen, mask = context.extend(layer, kv)
        own_turns, key_turns = turns
        key_turns = key_turns[-seen.key.shape[1] :]
        attended = self.attn1.attend(query, seen, own_turns, key_turns, mask, split, num_frames)
        fixed = sources.fixed or self.attn2.project_fixed(sources.words, sources.picture)
        x = self.after_attention(x, attended, modulation, fixed, sources.audio, sources.face_mask)
        return x, kv

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
