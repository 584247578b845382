"""Causal log-mel frames whose floor is exactly zero, so that silence is exactly zero."""

import math

import torch
from torch import Tensor, nn

HOP = 160
WINDOW = 400
NUM_FFT = 512
SAMPLE_RATE = 16_000


def mel_filterbank(num_bands: int, low_hz: float = 50.0, high_hz: float = 7600.0) -> Tensor:
    """Triangular filters on the HTK mel scale, (num_bands, NUM_FFT // 2 + 1) float32."""

    def mel(hz: float) -> float:
        return 2595.0 * math.log10(1.0 + hz / 700.0)

    edges_mel = torch.linspace(mel(low_hz), mel(high_hz), num_bands + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, NUM_FFT // 2 + 1, dtype=torch.float64)
    rising = (bins - edges[:-2, None]) / (edges[1:-1, None] - edges[:-2, None])
    falling = (edges[2:, None] - bins) / (edges[2:, None] - edges[1:-1, None])
    return torch.minimum(rising, falling).clamp(min=0).float()


class LogMel(nn.Module):
    """(B, S) samples -> (B, (S - WINDOW) // HOP + 1, bands), about 0 to 2.

    Frame i covers samples [i * HOP, i * HOP + WINDOW): the caller prepends WINDOW - HOP samples of
    history, so a frame never sees beyond its own hop.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, num_bands: int = 80) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filterbank(num_bands), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        frames = samples.unfold(-1, WINDOW, HOP) * self.window
        power = torch.fft.rfft(frames, NUM_FFT).abs().square()
        # the floor of 1e-5 lies below quiet speech and above 16-bit dither
        return (torch.log10(power @ self.filters.T + 1e-10) + 5.0).clamp(min=0.0) / 4.0
