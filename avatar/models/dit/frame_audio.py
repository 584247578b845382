"""InfiniteTalk's way of hearing: a window of video frames, and an attention of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.dit.attention import attention
from avatar.models.dit.config import FrameAudioConfig


class FrameAudioProjection(nn.Module):
    """Speech of video frames, (B, T, dim), to tokens (B, F, context_tokens, context_dim).

    Named as in InfiniteTalk. A clip's first latent holds one frame, those after it four.
    """

    def __init__(self, config: FrameAudioConfig) -> None:
        super().__init__()
        self.config = c = config
        self.proj1 = nn.Linear(c.window_frames * c.dim, c.hidden_dim)
        self.proj1_vf = nn.Linear(c.frames_seen * c.dim, c.hidden_dim)
        self.proj2 = nn.Linear(c.hidden_dim, c.hidden_dim)
        self.proj3 = nn.Linear(c.hidden_dim, c.context_tokens * c.context_dim)
        self.norm = nn.LayerNorm(c.context_dim)

    def forward(self, speech: Tensor, begins_clip: bool = False) -> Tensor:
        """Speech of F latents and `reach` frames on either side of them.

        That is F * frames_per_latent + 2 * reach frames, and for latents that begin a clip
        frames_per_latent - 1 fewer.
        """
        c = self.config
        hidden = []
        if begins_clip:
            hidden.append(self.proj1(speech[:, : c.window_frames].flatten(1))[:, None])
            speech = speech[:, 1:]
        if speech.shape[1] >= c.frames_seen:
            windows = speech.unfold(1, c.frames_seen, c.frames_per_latent).transpose(2, 3)
            hidden.append(self.proj1_vf(windows.flatten(2)))
        code = F.relu(self.proj2(F.relu(torch.cat(hidden, 1))))
        normed: Tensor = self.norm(self.proj3(code).unflatten(2, (c.context_tokens, c.context_dim)))
        return normed


class FrameAudioAttention(nn.Module):
    """Each latent's tokens attend to the speech of that latent; its output starts at zero."""

    def __init__(self, dim: int, context_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_linear = nn.Linear(dim, dim)
        self.kv_linear = nn.Linear(context_dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """X (B, F, n, dim), audio (B, F, N, context_dim)."""
        key, value = self.kv_linear(audio.flatten(0, 1)).chunk(2, -1)
        query = self.q_linear(x.flatten(0, 1))
        heard = self.proj(attention(query, key, value, self.num_heads))
        spread: Tensor = heard.unflatten(0, x.shape[:2])
        return spread
