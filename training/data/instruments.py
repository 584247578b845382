"""Single notes and drum strokes of made-up instruments, mono float32 at 16 kHz, never a voice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt  # type: ignore[import-untyped]  # no stubs

from training.data.acoustics import SAMPLE_RATE

Samples = NDArray[np.float32]
_HIGHEST_HZ = 7400.0
_MOST_HARMONICS = 28


@dataclass(frozen=True)
class Timbre:
    """How an instrument sounds.

    Harmonic h has amplitude h ** -`tilt`, shaped by `resonances` (hertz, octaves, dB); the note
    rises within `attack_s` and falls by 60 dB within `decay_s` (bowed and blown ones: never).
    """

    tilt: float
    attack_s: float
    decay_s: float = np.inf
    odd_only: bool = False
    vibrato_cents: float = 0.0
    breath: float = 0.0
    """Noise beside the tone."""
    resonances: tuple[tuple[float, float, float], ...] = ()


FAMILIES: dict[str, Timbre] = {
    "piano": Timbre(1.3, 0.004, 2.2),
    "guitar": Timbre(1.1, 0.003, 1.6),
    "organ": Timbre(0.9, 0.02),
    "strings": Timbre(1.0, 0.12, vibrato_cents=12.0),
    "violin": Timbre(0.9, 0.05, vibrato_cents=25.0),
    "flute": Timbre(2.2, 0.06, vibrato_cents=15.0, breath=0.05),
    "clarinet": Timbre(1.1, 0.04, odd_only=True),
    "brass": Timbre(0.7, 0.05, vibrato_cents=8.0),
    "synth": Timbre(1.0, 0.01, 0.9),
    "bass": Timbre(1.5, 0.006, 1.8),
}


def instrument(family: str, rng: np.random.Generator) -> Timbre:
    """One of a family, with a body of its own: no two have the same resonances."""
    base = FAMILIES[family]
    body = tuple(
        (float(2.0 ** rng.uniform(7.5, 12.3)), rng.uniform(0.3, 1.0), rng.uniform(-9.0, 12.0))
        for _ in range(3)
    )
    return Timbre(
        base.tilt * rng.uniform(0.8, 1.25),
        base.attack_s * rng.uniform(0.7, 1.4),
        base.decay_s * rng.uniform(0.7, 1.4),
        base.odd_only,
        base.vibrato_cents * rng.uniform(0.5, 1.5),
        base.breath,
        body,
    )


def note(hertz: float, seconds: float, timbre: Timbre, rng: np.random.Generator) -> Samples:
    """(seconds + release) of one note, peak about 1."""
    release_s = 0.06
    count = int((seconds + release_s) * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    cents = timbre.vibrato_cents * np.sin(2 * np.pi * 5.5 * time + rng.uniform(0, 6))
    cents *= np.clip(time / 0.3, 0, 1)  # players begin straight
    phase = 2 * np.pi * hertz * np.cumsum(2.0 ** (cents / 1200)) / SAMPLE_RATE
    sound = np.zeros(count)
    step = 2 if timbre.odd_only else 1
    for h in range(1, _MOST_HARMONICS * step + 1, step):
        if h * hertz > _HIGHEST_HZ:
            break
        gain_db = sum(
            peak * np.exp(-((np.log2(h * hertz / centre) / width) ** 2))
            for centre, width, peak in timbre.resonances
        )
        strength = h**-timbre.tilt * 10.0 ** (gain_db / 20.0)
        # high partials of struck strings die sooner
        fading = 10.0 ** (-3.0 * time * h**0.4 / timbre.decay_s)
        sound += strength * fading * np.sin(h * phase + 0.3 * h)
    if timbre.breath:
        sound += timbre.breath * np.abs(sound).max() * rng.standard_normal(count)
    envelope = np.minimum(time / timbre.attack_s, 1.0)
    envelope *= np.clip((seconds + release_s - time) / release_s, 0.0, 1.0)
    sound *= envelope
    return (sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def plucked(hertz: float, seconds: float, rng: np.random.Generator) -> Samples:
    """A string by Karplus and Strong (1983): noise in a loop that smooths it."""
    delay = max(2, round(SAMPLE_RATE / hertz))
    excitation = np.zeros(int((seconds + 0.05) * SAMPLE_RATE))
    excitation[:delay] = rng.uniform(-1, 1, delay)
    loop = np.zeros(delay + 2)
    loop[0], loop[delay], loop[delay + 1] = 1.0, -0.498, -0.498
    sound = lfilter([1.0], loop, excitation)
    sound *= np.clip((len(sound) - np.arange(len(sound))) / (0.05 * SAMPLE_RATE), 0, 1)
    return (sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def kick(rng: np.random.Generator) -> Samples:
    time = np.arange(int(0.28 * SAMPLE_RATE)) / SAMPLE_RATE
    low = rng.uniform(42, 62)
    sweep = low + rng.uniform(70, 160) * np.exp(-time / 0.03)
    body = np.sin(2 * np.pi * np.cumsum(sweep) / SAMPLE_RATE) * np.exp(-time / 0.09)
    click = 0.3 * rng.standard_normal(len(time)) * np.exp(-time / 0.003)
    return (body + click).astype(np.float32)


def snare(rng: np.random.Generator) -> Samples:
    time = np.arange(int(0.22 * SAMPLE_RATE)) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * rng.uniform(160, 230) * time) * np.exp(-time / 0.05)
    rattle = _band(rng.standard_normal(len(time)), 900.0, 7000.0) * np.exp(-time / 0.07)
    return (0.5 * tone + 0.8 * rattle).astype(np.float32)


def hat(rng: np.random.Generator, *, is_open: bool = False) -> Samples:
    time = np.arange(int((0.3 if is_open else 0.07) * SAMPLE_RATE)) / SAMPLE_RATE
    hiss = _band(rng.standard_normal(len(time)), 4500.0, 7600.0)
    return (hiss * np.exp(-time / (0.1 if is_open else 0.018))).astype(np.float32)


def _band(noise: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    band: NDArray[np.float64] = sosfilt(
        butter(2, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), noise
    )
    return band
