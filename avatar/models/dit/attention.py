"""Self-attention over cached chunks, and cross-attention to text, image and masked audio."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.dit.rope import rotate
from avatar.parallel.sequence import WHOLE, Split


class KeyValue(NamedTuple):
    """Keys and values of one layer, each (B, L, dim); self-attention keys are kept un-roped."""

    key: Tensor
    value: Tensor


def attention(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None
) -> Tensor:
    """Scaled dot-product attention of (B, L, dim) tensors with already rotated (q, k)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    if q.requires_grad and q.device.type == "cpu":  # twice as fast as the fused kernel's backward
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Wan's self-attention, in two halves: a cache stands between projecting and attending."""

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q = nn.RMSNorm(dim, eps)
        self.norm_k = nn.RMSNorm(dim, eps)

    def project(self, x: Tensor) -> tuple[Tensor, KeyValue]:
        return self.norm_q(self.to_q(x)), KeyValue(self.norm_k(self.to_k(x)), self.to_v(x))

    def attend(
        self,
        query: Tensor,
        kv: KeyValue,
        query_turns: Tensor,
        key_turns: Tensor,
        mask: Tensor | None = None,
        split: Split = WHOLE,
        num_frames: int = 1,
    ) -> Tensor:
        """Of as many heads as are given; with `split` of all tokens, and what comes is of some."""
        q = self._turn(query, query_turns)
        k = self._turn(kv.key, key_turns)
        heads = query.shape[-1] // self.head_dim
        attended = split.to_tokens(attention(q, k, kv.value, heads, mask), num_frames)
        out: Tensor = self.to_out[0](attended)
        return out

    def _turn(self, x: Tensor, turns: Tensor) -> Tensor:
        return rotate(x.unflatten(-1, (-1, self.head_dim)), turns).flatten(2)


class CrossAttention(nn.Module):
    """One query, up to three sources: text, image, and the speech of the query's latent frame.

    The branches are summed before the output projection, as Wan I2V does for its image branch. The
    audio branch is multiplied by the face mask, so outside the face its effect is exactly zero; its
    values start at zero, so a model that has just got it is the model it was.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        eps: float,
        *,
        has_text: bool,
        has_image: bool,
        audio_dim: int | None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.norm_q = nn.RMSNorm(dim, eps)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        if has_text:
            self.to_k = nn.Linear(dim, dim)
            self.to_v = nn.Linear(dim, dim)
            self.norm_k = nn.RMSNorm(dim, eps)
        if has_image:
            self.add_k_proj = nn.Linear(dim, dim)
            self.add_v_proj = nn.Linear(dim, dim)
            self.norm_added_k = nn.RMSNorm(dim, eps)
        if audio_dim is not None:
            self.audio_k_proj = nn.Linear(audio_dim, dim)
            self.audio_v_proj = nn.Linear(audio_dim, dim)
            self.norm_audio_k = nn.RMSNorm(dim, eps)
            nn.init.zeros_(self.audio_v_proj.weight)
            nn.init.zeros_(self.audio_v_proj.bias)

    def project_fixed(self, words: Tensor | None, picture: Tensor | None) -> tuple[KeyValue, ...]:
        """Keys and values of embedded text and image, as far as they are given."""
        sources = [] if words is None else [self.project_text(words)]
        return tuple(sources if picture is None else [*sources, self.project_image(picture)])

    def project_text(self, text: Tensor) -> KeyValue:
        return KeyValue(self.norm_k(self.to_k(text)), self.to_v(text))

    def project_image(self, image: Tensor) -> KeyValue:
        return KeyValue(self.norm_added_k(self.add_k_proj(image)), self.add_v_proj(image))

    def forward(
        self,
        x: Tensor,
        fixed: tuple[KeyValue, ...],
        audio: Tensor | None,
        face_mask: Tensor | None,
    ) -> Tensor:
        """X (B, F, n, dim); fixed: text and image keys and values; audio (B, F, N, audio_dim).

        `face_mask` is (B, n) in {0, 1}.
        """
        B, F_ = x.shape[:2]
        query = self.norm_q(self.to_q(x))
        out = torch.zeros_like(query)
        for source in fixed:
            flat = attention(query.flatten(1, 2), source.key, source.value, self.num_heads)
            out = out + flat.unflatten(1, (F_, -1))
        if audio is not None:
            assert face_mask is not None
            tokens = audio.flatten(0, 1)
            key, value = self.norm_audio_k(self.audio_k_proj(tokens)), self.audio_v_proj(tokens)
            heard = attention(query.flatten(0, 1), key, value, self.num_heads)
            out = out + heard.unflatten(0, (B, F_)) * face_mask[:, None, :, None]
        projected: Tensor = self.to_out[0](out)
        return projected
