"""Spoken utterances with the time of every phoneme, from any of the speech engines."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly  # type: ignore[import-untyped]  # scipy has no stubs

from avatar.cast.characters import Voice
from avatar.speech.phonemes import TimedPhoneme
from training.data.acoustics import SAMPLE_RATE, STUDIO, Acoustics, recorded
from training.data.corpus import TRAIN

Samples = NDArray[np.float32]
__all__ = ["SAMPLE_RATE", "SpeechEngine", "Utterance", "at_16_khz", "utterance"]


@dataclass(frozen=True)
class Utterance:
    samples: Samples
    """Mono float32 at 16 kHz."""
    phonemes: tuple[TimedPhoneme, ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


class SpeechEngine(Protocol):
    """Speaks one sentence. `voice` None lets the engine draw any of its own voices."""

    def speak(self, text: str, voice: Voice | None, rng: np.random.Generator, /) -> Utterance: ...


def utterance(
    rng: np.random.Generator,
    min_seconds: float,
    engines: Sequence[SpeechEngine],
    *,
    voice: Voice | None = None,
    sentences: Sequence[str] = TRAIN,
    acoustics: Acoustics = STUDIO,
) -> Utterance:
    """Random sentences by one random engine, with pauses of 0.2 to 1.5 s around and between.

    Args:
        rng: Draws engine, sentences, pauses and what the recording does to them.
        min_seconds: The utterance is at least this long.
        engines: One is drawn; list an engine twice to hear it twice as often.
        voice: Spoken with about this voice; None draws any.
        sentences: What may be said.
        acoustics: How it is recorded.
    """
    engine = engines[int(rng.integers(len(engines)))]
    if voice is None:
        drawn = (
            None if rng.random() < 0.5 else Voice(rng.uniform(0.85, 1.2), rng.uniform(0.72, 1.15))
        )
    else:
        drawn = Voice(voice.speed * rng.uniform(0.9, 1.1), voice.pitch * rng.uniform(0.97, 1.03))
    parts = [_pause(rng)]
    phonemes: list[TimedPhoneme] = []
    num_samples = len(parts[0])
    while num_samples < min_seconds * SAMPLE_RATE:
        text = sentences[int(rng.integers(len(sentences)))]
        said = engine.speak(text, drawn, rng)
        phonemes.extend(_delayed(said.phonemes, num_samples / SAMPLE_RATE))
        pause = _pause(rng)
        parts.extend([said.samples, pause])
        num_samples += len(said.samples) + len(pause)
    return Utterance(recorded(np.concatenate(parts), acoustics, rng), tuple(phonemes))


def at_16_khz(samples: NDArray[np.float32], sample_rate: int, pitch: float = 1.0) -> Samples:
    """Resampled to 16 kHz; `pitch` multiplies every frequency, and shortens by as much."""
    ratio = Fraction(SAMPLE_RATE, round(sample_rate * pitch)).limit_denominator(500)
    resampled: Samples = resample_poly(samples, ratio.numerator, ratio.denominator)
    return resampled.astype(np.float32)


def _pause(rng: np.random.Generator) -> Samples:
    # Squared, so that short pauses are the common ones.
    seconds = 0.2 + 1.3 * rng.random() ** 2
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def _delayed(phonemes: Sequence[TimedPhoneme], offset_s: float) -> list[TimedPhoneme]:
    return [TimedPhoneme(p.symbol, p.start_s + offset_s, p.end_s + offset_s) for p in phonemes]
