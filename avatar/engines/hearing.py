"""How much of the speech around a chunk a DiT wants, and in which shape."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.models.dit import DiTConfig


@dataclass(frozen=True)
class Hearing:
    """A latent's speech is (tokens, dim); tokens before and after the chunk's own are seen too.

    `before_first` is what was heard before the session began: nothing (zeros), or the session's
    first token again and again, as models learned it whose silence is no zero. `shape` is that of a
    token for models that want more axes, `by_latent` of those that want tokens latent by latent.
    """

    tokens_per_latent: int
    dim: int
    before: int
    after: int
    before_first: Literal["nothing", "first"]
    shape: tuple[int, ...] = ()
    by_latent: bool = False

    @property
    def lookahead_latents(self) -> int:
        """Whole latents that hold the tokens after the chunk's."""
        return -(-self.after // self.tokens_per_latent)

    def around(self, heard: Tensor | None, tokens: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """What `DiT.project_audio` takes, and what is `heard` before the next chunk.

        Args:
            heard: (before, dim), or None before the session's first chunk.
            tokens: (latents, tokens_per_latent, dim) of the chunk.
            ahead: (lookahead latents or more, tokens_per_latent, dim).
        """
        own = tokens.flatten(0, 1)
        if heard is None:
            heard = own[:1].expand(self.before, -1)
            heard = heard if self.before_first == "first" else torch.zeros_like(heard)
        speech = torch.cat([heard, own, ahead.flatten(0, 1)[: self.after]])
        following = speech[: self.before + len(own)][len(own) :]
        if self.by_latent:
            speech = speech.unflatten(0, (-1, self.tokens_per_latent))
        if self.shape:
            speech = speech.unflatten(-1, self.shape)
        return speech[None], following


def hearing_of(config: DiTConfig) -> Hearing:
    """Raises ValueError for a DiT without speech: it has no place in a call."""
    if (own := config.audio) is not None:
        reach = own.reach * own.tokens_per_latent
        return Hearing(own.tokens_per_latent, own.dim, reach, reach, "nothing", by_latent=True)
    if (frames := config.frame_audio) is not None:
        reach = frames.reach
        return Hearing(frames.frames_per_latent, frames.dim, reach, reach, "first")
    if (s2v := config.s2v) is not None:
        shape = (s2v.audio_layers, s2v.audio_dim)
        size = s2v.audio_layers * s2v.audio_dim
        return Hearing(s2v.frames_per_latent, size, s2v.left_frames, 0, "first", shape)
    raise ValueError("this DiT hears no speech: convert one that does, such as realvideo or tm-18b")


def whole_latents(frames: Tensor, tokens_per_latent: int) -> Tensor:
    """(N, D) -> (ceil(N / tokens_per_latent), tokens_per_latent, D), zeros after the last."""
    missing = -len(frames) % tokens_per_latent
    return F.pad(frames, (0, 0, 0, missing)).unflatten(0, (-1, tokens_per_latent))
