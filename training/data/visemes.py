"""Mouth shapes of speech: each phoneme's target, blended over time by co-articulation."""

# ruff: noqa: RUF001  # IPA letters are meant

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar.speech.phonemes import TimedPhoneme

MOUTH_NAMES = ("open", "wide", "round", "teeth", "tongue")
MOUTH_DIM = len(MOUTH_NAMES)

TARGETS: dict[str, tuple[float, float, float, float, float]] = {
    "silence": (0.00, 0.00, 0.00, 0.00, 0.00),
    "aa": (1.00, 0.10, 0.00, 0.35, 0.20),
    "ae": (0.80, 0.50, 0.00, 0.60, 0.20),
    "ah": (0.70, 0.10, 0.00, 0.40, 0.20),
    "eh": (0.55, 0.50, 0.00, 0.60, 0.20),
    "ih": (0.36, 0.60, 0.00, 0.80, 0.10),
    "iy": (0.24, 0.90, 0.00, 0.90, 0.00),
    "ax": (0.40, 0.10, 0.00, 0.40, 0.20),
    "er": (0.36, -0.30, 0.45, 0.40, 0.15),
    "ow": (0.55, -0.60, 0.80, 0.00, 0.10),
    "uw": (0.26, -0.90, 1.00, 0.00, 0.00),
    "uh": (0.34, -0.60, 0.70, 0.10, 0.10),
    "ao": (0.80, -0.40, 0.60, 0.10, 0.10),
    "w": (0.12, -0.95, 1.00, 0.00, 0.00),
    "r": (0.28, -0.40, 0.60, 0.30, 0.10),
    "l": (0.40, 0.20, 0.00, 0.40, 0.90),
    "th": (0.22, 0.20, 0.00, 0.70, 1.00),
    "mbp": (0.00, 0.00, 0.05, 0.00, 0.00),
    "fv": (0.10, 0.15, 0.00, 1.00, 0.00),
    "sz": (0.14, 0.50, 0.00, 1.00, 0.00),
    "sh": (0.20, -0.50, 0.75, 0.90, 0.00),
    "tdn": (0.24, 0.30, 0.00, 0.70, 0.50),
    "kg": (0.32, 0.20, 0.00, 0.40, 0.10),
    "h": (0.40, 0.10, 0.00, 0.40, 0.10),
}
"""open, wide (-1 pursed to 1 spread), round, teeth, tongue."""

DOMINANCE = {"mbp": 3.0, "fv": 3.0, "w": 2.0, "uw": 2.0, "sh": 2.0, "silence": 1.5}
"""Weight of a target against its neighbours; 1.2 where not listed."""

# IPA (hibari, piper) and espeak-ng mnemonics share one table: they differ in their capitals only.
_VISEME_OF_SYMBOL: dict[str, str] = {
    symbol: viseme
    for viseme, symbols in {
        "aa": "ɑ A ɒ 0 Q",
        "ae": "æ a",
        "ah": "ʌ V ɐ",
        "eh": "ɛ e E",
        "ih": "ɪ I ᵻ",
        "iy": "i j",
        "ax": "ə @ ᵊ ɘ",
        "er": "ɜ ɚ ɝ 3",
        "ow": "o",
        "uw": "u ʉ",
        "uh": "ʊ U",
        "ao": "ɔ O",
        "w": "w ʍ",
        "r": "ɹ r R ɻ",
        "l": "l L ɫ ɬ",
        "th": "θ ð T D",
        "mbp": "m b p",
        "fv": "f v",
        "sz": "s z",
        "sh": "ʃ ʒ S Z ʧ ʤ C",
        "tdn": "t d n ɾ * ʔ ɲ",
        "kg": "k g ɡ ŋ N x",
        "h": "h H ɦ",
    }.items()
    for symbol in symbols.split()
}

STRESS_MARKS = ("ˈ", "ˌ")

_CURVE_RATE = 200
_LEAD_S = 0.02  # lips move before the sound
_SHORTEST_PAUSE_S = 0.1
_CLOSE_S, _OPEN_S = 0.14, 0.10


@dataclass(frozen=True)
class Segment:
    """A span of time that aims at one mouth shape."""

    viseme: str
    start_s: float
    end_s: float


def visemes_of(symbol: str) -> tuple[str, ...]:
    """Mouth shapes that a symbol passes through: one, two for a diphthong or affricate, or none.

    None means a mark (stress, length, a word boundary) that has no shape of its own.
    """
    letters = unicodedata.normalize("NFD", symbol)
    found = tuple(_VISEME_OF_SYMBOL[letter] for letter in letters if letter in _VISEME_OF_SYMBOL)
    if found[:1] == ("tdn",) and "sh" in found:
        return ("sh",)  # an affricate is shaped by its release
    if found[:1] == ("ae",) and len(found) > 1:
        return ("aa", found[1])  # the a of a diphthong is an open one
    return found[:2]


def mouth_curves(
    phonemes: Sequence[TimedPhoneme], duration_s: float, fps: int = 25
) -> NDArray[np.float32]:
    """Mouth shape of every video frame; frame i shows time (i + 0.5) / fps.

    Dominance-weighted Gaussians around the targets, then a 75 ms Hann window. The lips are shut
    exactly where the pauses are, and in at least one frame of every m, b and p.

    Returns:
        (round(duration_s * fps), 5) float32, columns as in `MOUTH_NAMES`.
    """
    segments = _segments(phonemes, duration_s)
    num_frames = round(duration_s * fps)
    times = (np.arange(num_frames) + 0.5) / fps
    dense = _coarticulate(segments, duration_s) * _speech_gate(segments, duration_s)[:, None]
    samples = np.minimum((times * _CURVE_RATE).astype(np.int64), len(dense) - 1)
    curves = dense[samples]
    _close_lips(curves, segments, fps)
    return curves.astype(np.float32)


def _segments(phonemes: Sequence[TimedPhoneme], duration_s: float) -> list[Segment]:
    """Contiguous segments from 0 to `duration_s`; gaps and long marks become silence."""
    shaped: list[Segment] = []
    stress_start_s: float | None = None
    for phoneme in phonemes:
        if phoneme.symbol in STRESS_MARKS:
            stress_start_s = phoneme.start_s
            continue
        if stress_start_s is not None:  # a stress mark's time belongs to the vowel it marks
            phoneme = TimedPhoneme(phoneme.symbol, stress_start_s, phoneme.end_s)
            stress_start_s = None
        shaped.extend(_split(phoneme))
    filled: list[Segment] = []
    now = 0.0
    for segment in shaped:
        start = max(segment.start_s, now)
        if start - now > _SHORTEST_PAUSE_S:
            filled.append(Segment("silence", now, start))
        elif start > now and filled:  # a mark or word boundary belongs to the sound before it
            filled[-1] = Segment(filled[-1].viseme, filled[-1].start_s, start)
        now = max(segment.end_s, start)
        filled.append(Segment(segment.viseme, start, now))
    if duration_s > now:
        filled.append(Segment("silence", now, duration_s))
    return filled


def _split(phoneme: TimedPhoneme) -> Iterator[Segment]:
    visemes = visemes_of(phoneme.symbol)
    if len(visemes) == 2:
        # The first half of a diphthong is the longer one.
        middle = phoneme.start_s + 0.6 * (phoneme.end_s - phoneme.start_s)
        yield Segment(visemes[0], phoneme.start_s, middle)
        yield Segment(visemes[1], middle, phoneme.end_s)
    elif visemes:
        yield Segment(visemes[0], phoneme.start_s, phoneme.end_s)


def _coarticulate(segments: Sequence[Segment], duration_s: float) -> NDArray[np.float64]:
    """(T, 5) blended targets at 200 Hz."""
    num_samples = int(duration_s * _CURVE_RATE) + 1
    time = np.arange(num_samples) / _CURVE_RATE
    weighted, weight = np.zeros((num_samples, MOUTH_DIM)), np.full(num_samples, 1e-3)
    for segment in segments:
        length = max(segment.end_s - segment.start_s, 0.01)
        centre = segment.start_s + 0.45 * length - _LEAD_S
        spread = min(max(0.42 * length, 0.022), 0.4)
        first = max(0, int((centre - 3 * spread) * _CURVE_RATE))
        last = min(num_samples, int((centre + 3 * spread) * _CURVE_RATE) + 1)
        if last <= first:
            continue
        distance = (time[first:last] - centre) / spread
        dominance = DOMINANCE.get(segment.viseme, 1.2) * np.exp(-0.5 * distance * distance)
        weighted[first:last] += dominance[:, None] * np.array(TARGETS[segment.viseme])
        weight[first:last] += dominance
    window = np.hanning(17)
    window /= window.sum()
    blended = weighted / weight[:, None]
    padded = np.pad(blended, ((8, 8), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, window, "valid") for column in padded.T], axis=1)


def _speech_gate(segments: Sequence[Segment], duration_s: float) -> NDArray[np.float64]:
    """(T,) at 200 Hz: 1 in speech, exactly 0 inside pauses, with a short way between."""
    gate = np.ones(int(duration_s * _CURVE_RATE) + 1)
    time = np.arange(len(gate)) / _CURVE_RATE
    for segment in segments:
        if segment.viseme != "silence":
            continue
        inside = (time >= segment.start_s) & (time <= segment.end_s)
        since, until = time[inside] - segment.start_s, segment.end_s - time[inside]
        closing = np.clip(1.0 - since / _CLOSE_S, 0.0, 1.0) if segment.start_s > 0 else 0.0
        opening = np.clip(1.0 - until / _OPEN_S, 0.0, 1.0) if segment.end_s < duration_s else 0.0
        level = np.maximum(closing, opening)
        gate[inside] = level * level * (3.0 - 2.0 * level)
    return gate


def _close_lips(curves: NDArray[np.float64], segments: Sequence[Segment], fps: int) -> None:
    """Shut the lips in the frames of each m, b, p, or in the nearest frame of a short one."""
    shut = [MOUTH_NAMES.index(name) for name in ("open", "teeth", "tongue")]
    for segment in segments:
        if segment.viseme != "mbp" or not len(curves):
            continue
        first = int(np.ceil((segment.start_s - _LEAD_S) * fps - 0.5))
        last = int(np.floor((segment.end_s - _LEAD_S) * fps - 0.5))
        if last < first:
            middle = 0.5 * (segment.start_s + segment.end_s) - _LEAD_S
            first = last = round(middle * fps - 0.5)
        frames = np.clip(np.arange(first, last + 1), 0, len(curves) - 1)
        curves[frames[:, None], shut] = 0.0
