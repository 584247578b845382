"""The audio projection module: a local window of speech becomes the tokens a latent attends to."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.dit.config import AudioConfig


class AudioProjection(nn.Module):
    """(B, F + 2 reach, tokens, dim) speech -> (B, F, context_tokens, context_dim).

    Latent frame f sees the window [f - reach, f + reach] and nothing else.
    """

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        window = config.window_latents * config.tokens_per_latent * config.dim
        code = config.code_dim or config.hidden_dim
        self.proj1 = nn.Linear(window, config.hidden_dim)
        self.proj2 = nn.Linear(config.hidden_dim, code)
        self.proj3 = nn.Linear(code, config.context_tokens * config.context_dim)
        self.norm = nn.LayerNorm(config.context_dim)

    def forward(self, speech: Tensor) -> Tensor:
        c = self.config
        tokens = self.proj3(F.silu(self.code(speech)))
        normed: Tensor = self.norm(tokens.unflatten(2, (c.context_tokens, c.context_dim)))
        return normed

    def code(self, speech: Tensor) -> Tensor:
        """(B, F + 2 reach, tokens, dim) -> (B, F, code_dim)."""
        windows = speech.flatten(2).unfold(1, self.config.window_latents, 1)
        hidden = F.silu(self.proj1(windows.transpose(2, 3).flatten(2)))  # of (B, F, W tokens dim)
        code: Tensor = self.proj2(hidden)
        return code


def zero_window_edges(speech: Tensor, known: Tensor, reach: int) -> Tensor:
    """Silence the last `reach` latents of speech where they are not `known`, (B,) bool.

    Live speech has no look-ahead: training must have seen it missing.
    """
    keep = torch.ones(speech.shape[:2], device=speech.device, dtype=speech.dtype)
    keep[:, speech.shape[1] - reach :] = known[:, None].to(speech.dtype)
    return speech * keep[:, :, None, None]
