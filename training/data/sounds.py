"""Sounds that no mouth makes: tones of any timbre, alone, in chords and in rhythm."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt  # type: ignore[import-untyped]  # no stubs

from training.data.acoustics import SAMPLE_RATE, Acoustics, coloured_noise, recorded
from training.data.instruments import FAMILIES, instrument, note, plucked
from training.data.music import hertz_of

Samples = NDArray[np.float32]
Floats = NDArray[np.float64]

AROUND = Acoustics(room=0.4, telephone=0.04, noise=0.25)
"""How they are recorded: much as speech is."""
_NYQUIST = 0.47 * SAMPLE_RATE


def make_sound(rng: np.random.Generator, seconds: float) -> Samples:
    """`seconds` of one kind of sound, played as tones one after the other or as a signal.

    Instruments of `instruments.FAMILIES` are few and each is one formula; these draw every
    partial's place, strength and life, so that what they have in common is only that no vocal
    tract shapes them.
    """
    drawn = rng.random()
    if drawn < 0.12:
        sound = signal(rng, seconds)
    else:
        sound = played(rng, seconds, _TIMBRES[int(rng.integers(len(_TIMBRES)))])
    return recorded(sound, AROUND, rng)


def played(
    rng: np.random.Generator,
    seconds: float,
    timbre: Callable[[np.random.Generator], "Tone"],
) -> Samples:
    """Single notes or chords, evenly or freely in time, now and then held to the end."""
    tone = timbre(rng)
    mixed = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    step_s = float(np.exp(rng.uniform(np.log(0.12), np.log(2.5))))
    held = step_s * rng.uniform(0.5, 2.5)
    voices = 1 if rng.random() < 0.55 else int(rng.integers(2, 5))
    centre = rng.uniform(36, 84)
    now_s = rng.uniform(0.0, 0.5)
    while now_s < seconds:
        for _ in range(voices):
            midi = float(np.clip(round(centre + rng.normal(0, 5)), 28, 100))
            sound = tone(hertz_of(midi), min(held, seconds - now_s + 0.05))
            room = mixed[int(now_s * SAMPLE_RATE) :]
            sound = sound[: len(room)] * np.float32(rng.uniform(0.4, 1.0))
            room[: len(sound)] += sound
        # players rest
        now_s += step_s * (1.0 if rng.random() < 0.8 else rng.uniform(0.5, 4.0))
    return mixed


Tone = Callable[[float, float], Samples]


def of_partials(rng: np.random.Generator) -> Tone:
    """Partials of drawn strength and decay, harmonic or stretched as in bars and bells."""
    count = int(rng.integers(1, 24))
    stretch = 0.0 if rng.random() < 0.6 else rng.uniform(-0.12, 0.35)
    tilt = rng.uniform(0.0, 2.5)
    uneven_db = rng.uniform(0.0, 14.0)
    strength = np.arange(1, count + 1) ** -tilt * 10 ** (rng.normal(0, uneven_db, count) / 20)
    decay_s = np.inf if rng.random() < 0.4 else np.exp(rng.uniform(np.log(0.1), np.log(3.0)))
    attack_s = np.exp(rng.uniform(np.log(0.002), np.log(0.2)))
    sooner = rng.uniform(0.0, 0.8)
    vibrato, tremolo = _sometimes(rng, 0.3, 30.0), _sometimes(rng, 0.25, 0.7)
    pace, glide = rng.uniform(3.0, 8.0), _sometimes(rng, 0.2, 700.0) * rng.choice((-1, 1))

    def tone(hertz: float, seconds: float) -> Samples:
        time = _time(seconds)
        cents = vibrato * np.sin(2 * np.pi * pace * time) + glide * time / max(seconds, 0.1)
        turns = hertz * np.cumsum(2.0 ** (cents / 1200)) / SAMPLE_RATE
        sound = np.zeros(len(time))
        for h in range(1, count + 1):
            ratio = h ** (1.0 + stretch)
            if ratio * hertz > _NYQUIST:
                break
            fading = 10.0 ** (-3.0 * time * h**sooner / decay_s)
            sound += strength[h - 1] * fading * np.sin(2 * np.pi * ratio * turns + h * h)
        sound *= 1.0 - tremolo * (0.5 + 0.5 * np.sin(2 * np.pi * pace * time))
        return _shaped(sound, attack_s)

    return tone


def by_modulation(rng: np.random.Generator) -> Tone:
    """Frequency modulation (Chowning 1973): electric pianos, bells, reeds, beeps."""
    ratio = float(rng.choice((0.5, 1.0, 1.0, 1.41, 2.0, 3.0, 3.5, 7.0, 14.0)))
    depth, attack_s = rng.uniform(0.2, 6.0), rng.uniform(0.002, 0.05)
    index_s, decay_s = rng.uniform(0.05, 1.5), rng.choice((0.4, 1.0, 2.5, np.inf))

    def tone(hertz: float, seconds: float) -> Samples:
        time = _time(seconds)
        index = depth * np.exp(-time / index_s)
        inner = index * np.sin(2 * np.pi * min(ratio * hertz, _NYQUIST) * time)
        return _shaped(
            np.sin(2 * np.pi * hertz * time + inner) * 10.0 ** (-3 * time / decay_s), attack_s
        )

    return tone


def by_filter(rng: np.random.Generator) -> Tone:
    """Saws and squares through a low pass: synthesizers, and strings of many players."""
    is_square, voices = rng.random() < 0.4, int(rng.integers(1, 4))
    cents, cutoff = rng.uniform(2, 18), np.exp(rng.uniform(np.log(400), np.log(7000)))
    attack_s = np.exp(rng.uniform(np.log(0.003), np.log(0.25)))

    def tone(hertz: float, seconds: float) -> Samples:
        time, sound = _time(seconds), 0.0
        for voice in range(voices):
            own = hertz * 2.0 ** ((voice - (voices - 1) / 2) * cents / 1200)
            phase = (own * time + rng.random()) % 1.0
            sound = sound + (np.sign(phase - 0.5) if is_square else 2 * phase - 1)
        low = butter(2, min(cutoff, _NYQUIST), fs=SAMPLE_RATE, output="sos")
        return _shaped(sosfilt(low, sound), attack_s)

    return tone


def of_a_family(rng: np.random.Generator) -> Tone:
    """One of the instruments that the pieces are played on."""
    timbre = instrument(str(rng.choice(list(FAMILIES))), rng)
    return lambda hertz, seconds: note(hertz, seconds, timbre, rng)


def of_a_string(rng: np.random.Generator) -> Tone:
    return lambda hertz, seconds: plucked(hertz, seconds, rng)


def struck(rng: np.random.Generator) -> Tone:
    """Noise in a band that dies at once: claps, wood, shakers, keys."""
    width, decay_s = rng.uniform(0.3, 2.0), np.exp(rng.uniform(np.log(0.01), np.log(0.25)))
    shift = rng.uniform(0.0, 4.0)

    def tone(hertz: float, seconds: float) -> Samples:
        time = _time(min(seconds, 6 * decay_s + 0.02))
        centre = min(hertz * 2.0**shift, 5000.0)
        edges = (max(40.0, centre * 2 ** (-width / 2)), min(_NYQUIST, centre * 2 ** (width / 2)))
        band = butter(2, edges, "bandpass", fs=SAMPLE_RATE, output="sos")
        hiss = sosfilt(band, rng.standard_normal(len(time)))
        return _shaped(hiss * np.exp(-time / decay_s), 1e-3)

    return tone


_TIMBRES = (of_partials, of_partials, of_partials, by_modulation, by_filter, of_a_family,
            of_a_string, struck)  # fmt: skip


def signal(rng: np.random.Generator, seconds: float) -> Samples:
    """A steady tone, a sweep, mains hum, beeps, or noise that swells."""
    time = _time(seconds)
    kind = int(rng.integers(5))
    if kind == 0:
        sound = np.sin(2 * np.pi * np.exp(rng.uniform(np.log(60), np.log(6000))) * time)
    elif kind == 1:
        low, high = np.exp(rng.uniform(np.log(60), np.log(6000), 2))
        hertz = low * (high / low) ** ((time * rng.uniform(0.05, 1.0)) % 1.0)
        sound = np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE)
    elif kind == 2:
        mains = float(rng.choice((50.0, 60.0)))
        sound = sum(
            rng.uniform(0, 1) / h * np.sin(2 * np.pi * mains * h * time) for h in range(1, 12)
        )
    elif kind == 3:
        first, second = np.exp(rng.uniform(np.log(400), np.log(4000), 2))
        beep = np.sin(2 * np.pi * first * time) + rng.integers(2) * np.sin(
            2 * np.pi * second * time
        )
        sound = beep * ((time * rng.uniform(0.5, 6.0)) % 1.0 < rng.uniform(0.2, 0.7))
    else:
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 3.0) * time)
        sound = coloured_noise(len(time), rng.uniform(-1.0, 2.0), rng) * swell
    return _shaped(np.asarray(sound, np.float64), 0.005)


def _time(seconds: float) -> Floats:
    return np.arange(max(1, int(seconds * SAMPLE_RATE))) / SAMPLE_RATE


def _shaped(sound: Floats, attack_s: float) -> Samples:
    """Rising within `attack_s`, ending softly; peak 1."""
    time = np.arange(len(sound)) / SAMPLE_RATE
    sound = sound * np.minimum(time / attack_s, 1.0)
    sound = sound * np.clip((len(sound) / SAMPLE_RATE - time) / 0.03, 0.0, 1.0)
    return (sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def _sometimes(rng: np.random.Generator, chance: float, most: float) -> float:
    return float(rng.uniform(0.1, 1.0) * most) if rng.random() < chance else 0.0
