"""Sung words: hibari's spectra, stretched onto notes, with the time of every phoneme."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hibari import dsp  # type: ignore[import-untyped]  # has no types
from numpy.typing import NDArray

from avatar.speech.hibari_tts import HibariSynthesizer, timed
from avatar.speech.phonemes import TimedPhoneme
from avatar.speech.text import speakable
from training.data.music import Piece
from training.data.speech import SAMPLE_RATE, Samples, Utterance, at_16_khz
from training.data.visemes import visemes_of

Floats = NDArray[np.float64]

VOCALISES = (
    "La la la la la.",
    "Oh oh oh.",
    "Na na na na, hey hey.",
    "Do do do, ah ah.",
    "Mmm, ooh.",
)
"""Sung now and then: what songs have besides sentences."""

_VOWELS = frozenset("aa ae ah eh ih iy ax er ow uw uh ao".split())
_FRAME_S = dsp.HOP / dsp.SR
_SHORTEST_VOWEL_S = 0.08


@dataclass(frozen=True)
class Note:
    """One syllable's: its vowel begins at `start_s`."""

    start_s: float
    end_s: float
    midi: int


@dataclass(frozen=True)
class Singer:
    """`formants` is the size of the voice: below 1 larger and darker; `centre` a MIDI number."""

    formants: float
    centre: int
    vibrato_cents: float


def drawn_singer(rng: np.random.Generator) -> Singer:
    if rng.random() < 0.5:
        return Singer(rng.uniform(0.80, 0.92), int(rng.integers(46, 53)), rng.uniform(5, 45))
    return Singer(rng.uniform(0.95, 1.18), int(rng.integers(57, 66)), rng.uniform(5, 45))


@dataclass(frozen=True)
class Line:
    """A line of words as it is spoken: `frames` are hibari's spectra, `sounds` its phonemes."""

    frames: tuple[NDArray[np.float32], ...]
    sounds: tuple[TimedPhoneme, ...]

    @property
    def vowels(self) -> list[int]:
        return [i for i, sound in enumerate(self.sounds) if _is_vowel(sound.symbol)]


class Choir:
    """Sings with one network in many voices."""

    def __init__(self) -> None:
        self._tts = HibariSynthesizer()

    def read(self, text: str) -> Line | None:
        """None where there is no vowel to sing."""
        strings = self._tts.read(speakable(text.replace(",", "")))
        if len(strings) != 1:
            return None
        spectrum, durations_s = self._tts.spectrum(strings[0], 1.0)
        spoken = dsp.synth(*spectrum, np.random.default_rng(0))
        line = Line(tuple(spectrum), timed(strings[0], durations_s, spoken))
        return line if line.vowels else None

    def sing(
        self, line: Line, notes: Sequence[Note], singer: Singer, rng: np.random.Generator
    ) -> Utterance:
        """The line at 16 kHz, its time counted as that of the notes.

        Raises:
            ValueError: If there is not one note for each vowel.
        """
        if len(notes) != len(line.vowels):
            raise ValueError(f"{len(notes)} notes given for {len(line.vowels)} syllables")
        sounds = laid_on(line, notes)
        length_s = sounds[-1].end_s + 0.1
        time = (np.arange(int(length_s / _FRAME_S)) + 0.5) * _FRAME_S
        source = np.interp(time, *_anchors(line.sounds, sounds)) / _FRAME_S - 0.5
        nearest = np.clip(np.round(source), 0, line.frames[0].shape[1] - 1).astype(np.int64)
        *spectra, f0 = (part[..., nearest] for part in line.frames)
        spectra = [_with_formants(part, singer.formants) for part in spectra]
        # held frames would repeat their free phase, and buzz
        spectra[4] = rng.uniform(-np.pi, np.pi, spectra[4].shape).astype(np.float32)
        before, after = time < sounds[0].start_s - 0.05, time > sounds[-1].end_s + 0.05
        for level in (0, 2, 3):
            spectra[level] = np.where(before | after, np.float32(-12), spectra[level])
        hertz = np.where(f0 > 40.0, _melody(time, notes, singer, rng), 0.0)
        samples = dsp.synth(*spectra, hertz.astype(np.float32), rng)
        samples[: int(max(0.0, sounds[0].start_s - 0.06) * dsp.SR)] = 0.0
        return Utterance(at_16_khz(samples, dsp.SR), sounds)

    def song(
        self,
        piece: Piece,
        texts: Sequence[str],
        singer: Singer,
        rng: np.random.Generator,
    ) -> Utterance:
        """Lines over the piece, each beginning on a bar, a rest of a bar or so between them."""
        voice: Samples = np.zeros(len(piece.samples), np.float32)
        phonemes: list[TimedPhoneme] = []
        beat_s, end_s = 60.0 / piece.bpm, len(voice) / SAMPLE_RATE
        bars = piece.beats_s[:: piece.beats_per_bar]
        # a syllable takes at least a quarter of a second
        unit = beat_s / 2 if beat_s / 2 > 0.26 else beat_s
        free_from = 0.0
        for bar, start_s in enumerate(bars):
            if start_s < free_from or rng.random() < 0.15:
                continue
            drawn = self._fitting(texts, float(start_s), end_s - 0.5, unit, bar, piece, singer, rng)
            if drawn is None:
                continue
            line, notes = drawn
            sung = self.sing(line, notes, singer, rng)
            room = voice[: len(sung.samples)]
            room += sung.samples[: len(room)]
            phonemes.extend(sung.phonemes)
            free_from = notes[-1].end_s + rng.uniform(0.3, 1.0) * piece.beats_per_bar * beat_s
        return Utterance(voice, tuple(phonemes))

    def _fitting(
        self,
        texts: Sequence[str],
        start_s: float,
        end_s: float,
        unit_s: float,
        bar: int,
        piece: Piece,
        singer: Singer,
        rng: np.random.Generator,
    ) -> tuple[Line, list[Note]] | None:
        """A line that is over by `end_s`, of a few that are tried."""
        for _ in range(_TRIES):
            text = str(rng.choice(VOCALISES if rng.random() < 0.12 else texts))
            line = self.read(text)
            if line is None or len(line.vowels) > _MOST_SYLLABLES:
                continue
            notes = _drawn_notes(len(line.vowels), start_s, unit_s, bar, piece, singer, rng)
            if notes[-1].end_s <= end_s:
                return line, notes
        return None


_TRIES, _MOST_SYLLABLES = 8, 14


def laid_on(line: Line, notes: Sequence[Note]) -> tuple[TimedPhoneme, ...]:
    """Phonemes at their sung times: vowels fill the notes, consonants stay as short as spoken."""
    vowels, sounds = line.vowels, line.sounds
    laid: list[TimedPhoneme] = []

    def lay(group: Sequence[TimedPhoneme], start_s: float, end_s: float) -> None:
        spoken = sum(p.end_s - p.start_s for p in group) or 1.0
        now = start_s
        for p in group:
            following = now + (p.end_s - p.start_s) * (end_s - start_s) / spoken
            laid.append(TimedPhoneme(p.symbol, now, following, p.begins_word))
            now = following

    def spoken_s(group: Sequence[TimedPhoneme]) -> float:
        return sum(p.end_s - p.start_s for p in group)

    first = sounds[: vowels[0]]
    lay(first, max(0.0, notes[0].start_s - spoken_s(first)), notes[0].start_s)
    for i, note in enumerate(notes):
        is_last = i + 1 == len(notes)
        following = len(sounds) if is_last else vowels[i + 1]
        consonants = sounds[vowels[i] + 1 : following]
        until = note.end_s if is_last else notes[i + 1].start_s
        room = max(0.5 * (until - note.start_s), until - note.start_s - 0.35)
        taken = min(spoken_s(consonants), room)
        taken = min(taken, max(0.0, until - note.start_s - _SHORTEST_VOWEL_S))
        lay(sounds[vowels[i] : vowels[i] + 1], note.start_s, until - taken)
        lay(consonants, until - taken, until)
    return tuple(laid)


def _anchors(spoken: Sequence[TimedPhoneme], sung: Sequence[TimedPhoneme]) -> tuple[Floats, Floats]:
    """Sung times and the spoken times that sound then; both rise."""
    target = [0.0, max(0.0, sung[0].start_s - 0.08)]
    source = [max(0.0, spoken[0].start_s - 0.09), max(0.0, spoken[0].start_s - 0.08)]
    for was, now in zip(spoken, sung, strict=True):
        target += [now.start_s, now.end_s]
        source += [was.start_s, was.end_s]
    target.append(sung[-1].end_s + 0.2)
    source.append(spoken[-1].end_s + 0.2)
    return np.asarray(target), np.asarray(source)


def _is_vowel(symbol: str) -> bool:
    found = visemes_of(symbol)
    return bool(found) and found[0] in _VOWELS and symbol not in "jwJW"


def _with_formants(spectrum: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """The spectrum (bins, F) of a vocal tract whose resonances lie `factor` as high."""
    bins = np.arange(len(spectrum)) / factor
    low = np.minimum(bins.astype(np.int64), len(spectrum) - 1)
    high = np.minimum(low + 1, len(spectrum) - 1)
    weight = (bins - bins.astype(np.int64))[:, None]
    return (spectrum[low] * (1 - weight) + spectrum[high] * weight).astype(np.float32)


def _melody(
    time: Floats, notes: Sequence[Note], singer: Singer, rng: np.random.Generator
) -> Floats:
    """(F,) hertz: notes with a glide of 50 ms between them, and vibrato on the long ones."""
    starts = np.array([note.start_s for note in notes])
    index = np.clip(np.searchsorted(starts, time + 0.04, "right") - 1, 0, len(notes) - 1)
    midi = np.array([note.midi for note in notes], float)[index]
    glide = np.hanning(9)
    padded = np.pad(midi, 4, mode="edge")
    midi = np.convolve(padded, glide / glide.sum(), "valid")
    held = np.clip((time - starts[index] - 0.2) / 0.3, 0.0, 1.0)
    cents = singer.vibrato_cents * held * np.sin(2 * np.pi * (5.3 * time + rng.random()))
    cents += 12.0 * rng.standard_normal() * np.sin(2 * np.pi * 0.4 * time)
    return np.asarray(440.0 * 2.0 ** ((midi - 69 + cents / 100) / 12))


def _drawn_notes(
    count: int,
    start_s: float,
    unit_s: float,
    bar: int,
    piece: Piece,
    singer: Singer,
    rng: np.random.Generator,
) -> list[Note]:
    """A tune of steps and small leaps near the chord; the last note is held."""
    degree = piece.chord_at(bar) + int(rng.choice((0, 2, 4)))
    now, notes = start_s, []
    for i in range(count):
        units = int(rng.choice((1, 1, 1, 2))) if i + 1 < count else int(rng.integers(2, 5))
        midi = piece.pitch(degree)
        midi += 12 * round((singer.centre - midi) / 12)
        notes.append(Note(now, now + units * unit_s, midi))
        now += units * unit_s
        degree += int(rng.choice((-2, -1, -1, 0, 1, 1, 2)))
    return notes
