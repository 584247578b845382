"""Causal onset strength: how much new sound began in each hundredth of a second."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAMPLE_RATE = 16_000
HOP = 160
"""10 ms."""
WINDOW = 512
FRAME_S = HOP / SAMPLE_RATE
NUM_BANDS = 24
_EDGES_HZ = (30.0, 7600.0)
_LOW_HZ = (30.0, 110.0)
"""Kick drum and bass."""
_BACK_FRAMES = 2
_FLOOR = 3e-6
"""Power below which there is nothing to hear: quieter than 16-bit dither after the window."""


@dataclass(frozen=True)
class OnsetState:
    """`tail`: samples that the next window still needs; `levels`: band levels of the last frames.

    `scales`: how strong onsets have been lately, all and low ones, which makes loud and soft music
    alike.
    """

    tail: NDArray[np.float32]
    levels: Floats
    scales: tuple[float, float]


def init_onsets() -> OnsetState:
    """As if silence came before."""
    return OnsetState(
        np.zeros(WINDOW - HOP, np.float32), np.zeros((_BACK_FRAMES, NUM_BANDS + 1)), (0.0, 0.0)
    )


def onset_strength(samples: NDArray[np.float32], state: OnsetState) -> tuple[Floats, OnsetState]:
    """Spectral flux in bands, on a scale of decibels, relative to the last few seconds.

    Frame i covers the `WINDOW` samples that end with hop i, and nothing later.

    Args:
        samples: (S,) float32 at 16 kHz, S a multiple of 160.
        state: From `init_onsets` or the call before.

    Returns:
        (S / 160,) onset strengths of at least 0, about 1 at a clear onset; and the next state.

    Raises:
        ValueError: If S is no multiple of 160.
    """
    if len(samples) % HOP:
        raise ValueError(f"{len(samples)} samples given, a multiple of {HOP} expected")
    heard = np.concatenate([state.tail, samples])
    count = len(samples) // HOP
    strengths = np.empty(count)
    levels, (scale, low_scale) = state.levels, state.scales
    for i in range(count):
        # one frame at a time: the same sums in the same order, however the samples were cut
        level = band_levels(heard[i * HOP : i * HOP + WINDOW])
        rise = np.maximum(level - levels.max(axis=0), 0.0)
        flux, low_flux = float(rise[:-1].mean()), float(rise[-1])
        scale = max(scale * _SCALE_DECAY, flux, _QUIETEST)
        low_scale = max(low_scale * _SCALE_DECAY, low_flux, _QUIETEST_LOW)
        strengths[i] = (1 - LOW_SHARE) * flux / scale + LOW_SHARE * low_flux / low_scale
        levels = np.concatenate([levels[1:], level[None]])
    return strengths, OnsetState(heard[len(heard) - (WINDOW - HOP) :], levels, (scale, low_scale))


LOW_SHARE = 0.55
"""Of low onsets in the strength: kick drum and bass carry the beat."""
_SCALE_DECAY = float(np.exp(-FRAME_S / 4.0))
_QUIETEST = 0.15
"""Flux of a rise by about 3 dB in all bands: what is weaker is no onset, even in near silence."""
_QUIETEST_LOW = 0.02
"""Likewise, of a tone with this amplitude."""


def band_levels(window: NDArray[np.float32]) -> Floats:
    """(NUM_BANDS + 1,) levels of one window.

    The first, 0 for silence, rise by 1 every 20 dB, for the ear hears ratios. The last is the
    amplitude below 110 Hz as it is: a kick drum stands out from a bass by its size.
    """
    power = np.abs(np.fft.rfft(window * _hann())) ** 2 / WINDOW
    ratios = np.log10((_filters() @ power) / _FLOOR + 1.0) / 2.0
    low = np.sqrt(power[_low_bins()].sum() * 16.0 / WINDOW)
    return np.append(ratios, low)


@cache
def _low_bins() -> NDArray[np.intp]:
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    return np.flatnonzero((hertz >= _LOW_HZ[0]) & (hertz <= _LOW_HZ[1]))


@cache
def _hann() -> NDArray[np.float32]:
    return np.hanning(WINDOW).astype(np.float32)


@cache
def _filters() -> Floats:
    """(NUM_BANDS, bins): rectangles evenly spaced on the scale of the ear, each of one bin or more.

    Each gives the mean power of its bins.
    """
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    low, high = (np.log(hz + 200.0) for hz in _EDGES_HZ)
    edges = np.exp(np.linspace(low, high, NUM_BANDS + 1)) - 200.0
    inside = (hertz >= edges[:-1, None]) & (hertz < edges[1:, None])
    nearest = np.abs(hertz[None] - 0.5 * (edges[:-1] + edges[1:])[:, None]).argmin(1)
    inside[np.arange(NUM_BANDS), nearest] = True
    return inside / inside.sum(1, keepdims=True)
