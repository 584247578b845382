"""How recorded speech differs from a synthesizer's: room, microphone, noise and level."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt  # type: ignore[import-untyped]  # no stubs

SAMPLE_RATE = 16_000

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Acoustics:
    """Chances of each change, and its range."""

    room: float = 0.35
    reverberation_s: tuple[float, float] = (0.12, 0.55)
    direct_db: tuple[float, float] = (2.0, 14.0)
    """Level of the direct sound over the room's."""
    tone: float = 0.5
    telephone: float = 0.08
    noise: float = 0.4
    signal_to_noise_db: tuple[float, float] = (12.0, 40.0)
    noise_everywhere: float = 0.5
    """Share of the noisy ones whose pauses are noisy too; the others pause in digital silence."""
    peak: tuple[float, float] = (0.06, 0.95)


STUDIO = Acoustics(room=0.0, tone=0.0, telephone=0.0, noise=0.0, peak=(0.3, 0.95))
"""As synthesized, but for the level."""
EVERYDAY = Acoustics()


def recorded(samples: Samples, acoustics: Acoustics, rng: np.random.Generator) -> Samples:
    """The same speech as one of many microphones might have heard it; nothing moves in time."""
    heard = samples
    if rng.random() < acoustics.room:
        heard = in_room(
            heard, rng.uniform(*acoustics.reverberation_s), rng.uniform(*acoustics.direct_db), rng
        )
    if rng.random() < acoustics.tone:
        heard = toned(heard, rng)
    if rng.random() < acoustics.telephone:
        heard = through_telephone(heard)
    if rng.random() < acoustics.noise:
        noise = coloured_noise(len(heard), rng.uniform(-1.0, 2.0), rng)
        loud = np.abs(heard) > 0.02 * np.abs(heard).max(initial=1e-9)
        level = np.sqrt(np.mean(heard[loud] ** 2)) if loud.any() else 0.0
        noise *= np.float32(level * 10.0 ** (-rng.uniform(*acoustics.signal_to_noise_db) / 20.0))
        if rng.random() >= acoustics.noise_everywhere:
            noise *= _near_sound(samples)
        heard = heard + noise
    peak = float(np.abs(heard).max(initial=1e-3))
    # evenly on the scale of the ear
    low, high = np.log(acoustics.peak)
    return heard * np.float32(np.exp(rng.uniform(low, high)) / peak)


def in_room(
    samples: Samples, reverberation_s: float, direct_db: float, rng: np.random.Generator
) -> Samples:
    """With echoes that fall by 60 dB within `reverberation_s`; the direct sound stays in place."""
    count = int(reverberation_s * SAMPLE_RATE)
    tail = rng.standard_normal(count) * 10.0 ** (-3.0 * np.arange(count) / count)
    gap = int(rng.uniform(0.002, 0.012) * SAMPLE_RATE)  # to the nearest wall and back
    tail[:gap] = 0.0
    tail *= 10.0 ** (-direct_db / 20.0) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    heard: Samples = fftconvolve(samples, tail)[: len(samples)].astype(np.float32)
    return heard


def toned(samples: Samples, rng: np.random.Generator) -> Samples:
    """Two broad humps or dips of up to 6 dB, as microphones and voices have them."""
    spectrum = np.fft.rfft(samples)
    pitch = np.log2(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) + 30.0)
    gain_db = np.zeros(len(spectrum))
    for _ in range(2):
        middle, width = rng.uniform(np.log2(120.0), np.log2(7000.0)), rng.uniform(0.7, 2.0)
        gain_db += rng.uniform(-6.0, 6.0) * np.exp(-(((pitch - middle) / width) ** 2))
    heard = np.fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), len(samples))
    # a filter rings; digital silence must stay what it is
    return np.where(_near_sound(samples) > 0, heard, 0.0).astype(np.float32)


def through_telephone(samples: Samples) -> Samples:
    band = butter(4, (300.0, 3400.0), "bandpass", fs=SAMPLE_RATE, output="sos")
    heard = np.asarray(sosfilt(band, samples))
    return np.where(_near_sound(samples) > 0, heard, 0.0).astype(np.float32)


def coloured_noise(count: int, slope: float, rng: np.random.Generator) -> Samples:
    """Noise of power 1 whose power falls as 1 / frequency ** slope: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 40.0)
    noise = np.fft.irfft(spectrum * frequency ** (-0.5 * slope), count)
    return (noise / (noise.std() + 1e-12)).astype(np.float32)


def _near_sound(samples: Samples, margin_s: float = 0.02) -> Samples:
    """1 within `margin_s` of any sample that is not zero, else 0."""
    margin = int(margin_s * SAMPLE_RATE)
    steps = np.concatenate([[0], np.cumsum(samples != 0.0)])
    at = np.arange(len(samples))
    first, last = np.maximum(at - margin, 0), np.minimum(at + margin + 1, len(samples))
    return (steps[last] > steps[first]).astype(np.float32)
