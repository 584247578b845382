"""The audio encoder: causal convolutions over log-mel, pre-trained to predict visemes."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.models.audio_encoder.mel import HOP, WINDOW, LogMel

SAMPLES_PER_TOKEN = 2 * HOP


@dataclass(frozen=True)
class AudioEncoderConfig:
    """`dilations` sets the receptive field; `gate_dbfs` is the level below which nobody speaks."""

    num_bands: int = 80
    dim: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    gate_dbfs: float = -50.0
    gate_hold_tokens: int = 4
    num_visemes: int = 5


class CausalResidual(nn.Module):
    """x + conv(silu(conv(silu(norm(x))))), seeing only the past."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim, 1))
        self.conv = nn.Conv1d(dim, dim, 3, dilation=dilation)
        self.mix = nn.Conv1d(dim, dim, 1)
        self.left = 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        # a norm per token, never over time: statistics over time would let the future leak
        y = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5) * self.gain
        y = F.pad(F.silu(y), (self.left, 0))
        return x + self.mix(F.silu(self.conv(y)))


class AudioEncoder(nn.Module):
    """Samples to tokens at 50 Hz; state is the last `history` samples, zero at the beginning.

    A token depends on its own 20 ms and the `history` samples before, never on later ones, and is
    exactly zero where the level has been below the gate for `gate_hold_tokens` tokens.
    """

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.num_bands)
        self.stem = nn.Conv1d(config.num_bands, config.dim, 4, stride=2)
        self.layers = nn.ModuleList(CausalResidual(config.dim, d) for d in config.dilations)
        reach = sum(2 * d for d in config.dilations)
        self.context_tokens = max(reach, config.gate_hold_tokens)
        # stem: 2 further mel frames; mel: WINDOW - HOP further samples
        self.history = self.context_tokens * SAMPLES_PER_TOKEN + 2 * HOP + WINDOW - HOP
        # predicts the mouth from tokens up to 120 ms later; used in training only
        self.viseme_head = nn.Sequential(
            nn.Conv1d(config.dim, 96, 7, padding=3), nn.SiLU(), nn.Conv1d(96, config.num_visemes, 1)
        )

    def init_state(self, batch_size: int = 1) -> Tensor:
        """(B, history) samples of silence."""
        return torch.zeros(batch_size, self.history)

    def forward(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) samples, S a multiple of 320 -> (B, S / 320, dim) tokens and the next state."""
        B, S = samples.shape
        if S % SAMPLES_PER_TOKEN:
            raise ValueError(f"{S} samples given, a multiple of {SAMPLES_PER_TOKEN} expected")
        heard = torch.cat([state, samples], dim=1)
        num_tokens = S // SAMPLES_PER_TOKEN
        if num_tokens == 0:
            return samples.new_zeros(B, 0, self.config.dim), state
        x = self.stem(self.mel(heard).transpose(1, 2))
        for layer in self.layers:
            x = layer(x)
        tokens = x[:, :, -num_tokens:].transpose(1, 2)
        gate = self.speech_gate(heard)[:, -num_tokens:, None]
        return tokens * gate, heard[:, -self.history :]

    def speech_gate(self, heard: Tensor) -> Tensor:
        """(B, tokens) of 0 or 1: whether it was loud within the last `gate_hold_tokens` tokens."""
        usable = heard.shape[1] // SAMPLES_PER_TOKEN * SAMPLES_PER_TOKEN
        power = heard[:, -usable:].unflatten(1, (-1, SAMPLES_PER_TOKEN)).square().mean(-1)
        loud = (power > 10.0 ** (self.config.gate_dbfs / 10.0)).float()
        held = F.max_pool1d(
            F.pad(loud, (self.config.gate_hold_tokens - 1, 0)),
            self.config.gate_hold_tokens,
            stride=1,
        )
        return held

    def visemes(self, tokens: Tensor) -> Tensor:
        """(B, L, dim) tokens at 50 Hz -> (B, L // 2, num_visemes) at 25 Hz."""
        y = self.viseme_head(tokens.transpose(1, 2))
        return F.avg_pool1d(y, 2).transpose(1, 2)
