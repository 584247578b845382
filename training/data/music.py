"""Short pieces of music in several styles, made from a seed, with the time of every beat."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.acoustics import SAMPLE_RATE
from training.data.instruments import Timbre, hat, instrument, kick, note, plucked, snare

Samples = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Style:
    """What is played on the eighths of a bar: `x` a stroke, `o` a soft one, `.` none.

    `swing` is where the second eighth of a beat falls: 0.5 straight, 0.66 as in jazz.
    """

    bpm: tuple[float, float]
    kick: str
    snare: str
    hat: str
    bass: str
    chords: str
    harmony: tuple[str, ...]
    lead: tuple[str, ...]
    swing: float = 0.5

    @property
    def beats_per_bar(self) -> int:
        return len(self.kick) // 2


STYLES: dict[str, Style] = {
    "rock": Style(
        (96, 150), "x..xx...", "..x...x.", "xxxxxxxx", "x.xxx.xx", "x...x...",
        ("guitar", "organ"), ("brass", "synth"),
    ),
    "pop": Style(
        (84, 128), "x...x.x.", "..x...x.", "xoxoxoxo", "x..xx...", "x.......",
        ("strings", "piano"), ("flute", "synth"),
    ),
    "house": Style(
        (116, 132), "x.x.x.x.", "..x...x.", ".x.x.x.x", ".x.x.x.x", ".x.x.x.x",
        ("synth", "organ"), ("synth", "brass"),
    ),
    "ballad": Style(
        (62, 84), "........", "........", "........", "x...x...", "xooxoxoo",
        ("piano", "guitar"), ("violin", "flute"),
    ),
    "waltz": Style(
        (88, 168), "x.....", "..o.o.", "x.x.x.", "x.....", "..x.x.",
        ("strings", "piano"), ("violin", "clarinet"),
    ),
    "swing": Style(
        (104, 176), "x...x...", "..o...o.", "x.xxx.xx", "x.x.x.x.", "..x...x.",
        ("piano", "guitar"), ("clarinet", "brass"), swing=0.64,
    ),
    "reggae": Style(
        (66, 92), "....x...", "....x...", "xoxoxoxo", "x.xx..x.", "..x...x.",
        ("organ", "guitar"), ("brass", "flute"),
    ),
    "march": Style(
        (100, 126), "x...x...", "x.x.x.xx", "........", "x...x...", "..x...x.",
        ("brass", "strings"), ("brass", "flute"),
    ),
}  # fmt: skip

PROGRESSIONS = ((0, 5, 3, 4), (0, 3, 4, 4), (5, 3, 0, 4), (0, 4, 5, 3), (0, 5, 1, 4))
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


@dataclass(frozen=True)
class Piece:
    """`samples` is (S,) float32 at 16 kHz; `beats_s` are the times of its beats."""

    samples: Samples
    beats_s: Floats
    bpm: float
    style: str
    beats_per_bar: int
    key: int
    """MIDI number of the tonic, in the octave below middle C."""
    scale: tuple[int, ...]
    progression: tuple[int, ...] = field(default=(0,))

    def pitch(self, degree: int) -> int:
        """MIDI number of a degree of the scale, counted from the tonic; may be negative."""
        octave, step = divmod(degree, len(self.scale))
        return self.key + 12 * octave + self.scale[step]

    def chord_at(self, bar: int) -> int:
        """Degree of the bar's chord."""
        return self.progression[bar % len(self.progression)]


def hertz_of(midi: float) -> float:
    return float(440.0 * 2.0 ** ((midi - 69) / 12))


def make_piece(
    rng: np.random.Generator,
    style: str,
    seconds: float,
    *,
    bpm: float | None = None,
    lead: bool = True,
    lead_in_s: float = 0.4,
) -> Piece:
    """About `seconds` of a style, whole bars of it, after `lead_in_s` of silence.

    Args:
        rng: Draws tempo, key, chords, instruments, melody, and how exactly they play.
        style: One of `STYLES`.
        seconds: The samples are exactly this long; beats go on to their end.
        bpm: Tempo, if it is not to be drawn.
        lead: Whether an instrument plays a melody; leave it out for a singer.
        lead_in_s: Silence before the first beat.
    """
    how = STYLES[style]
    tempo = float(bpm if bpm is not None else rng.uniform(*how.bpm))
    beat_s = 60.0 / tempo
    scale = _SCALES["minor" if rng.random() < 0.4 else "major"]
    progression = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
    key = 48 + int(rng.integers(12)) - 5
    beats = np.arange(lead_in_s, seconds, beat_s)
    band = _Band(rng, seconds)
    piece = Piece(band.mixed, beats, tempo, style, how.beats_per_bar, key, scale, progression)
    num_bars = -(-len(beats) // how.beats_per_bar)
    harmony = instrument(str(rng.choice(how.harmony)), rng)
    bass = instrument("bass", rng)
    melody = instrument(str(rng.choice(how.lead)), rng)
    strokes: dict[str, tuple[Samples, float]] = {
        "kick": (kick(rng), 0.9), "snare": (snare(rng), 0.6), "hat": (hat(rng), 0.25),
    }  # fmt: skip
    for bar in range(num_bars):
        root = piece.chord_at(bar)
        for eighth in range(2 * how.beats_per_bar):
            beat, half = divmod(eighth, 2)
            start = lead_in_s + (bar * how.beats_per_bar + beat + half * how.swing) * beat_s
            for name, (sound, level) in strokes.items():
                band.play(sound, start, level * _STRENGTH[getattr(how, name)[eighth]])
            if (strength := _STRENGTH[how.bass[eighth]]) > 0:
                degree = root - 7 if rng.random() < 0.8 else root - 3
                band.play(band.tone(piece.pitch(degree), 0.9 * beat_s, bass), start, 0.5 * strength)
            if (strength := _STRENGTH[how.chords[eighth]]) > 0:
                held = beat_s * (how.beats_per_bar if how.chords.count("x") == 1 else 0.8)
                for offset in (0, 2, 4):
                    tone = band.tone(piece.pitch(root + offset), held, harmony)
                    band.play(tone, start, 0.22 * strength)
        if lead:
            _play_melody(band, piece, how, bar, melody, lead_in_s)
    band.mixed *= np.float32(0.8 / (np.abs(band.mixed).max() + 1e-9))
    return piece


_STRENGTH = {"x": 1.0, "o": 0.45, ".": 0.0}


def _play_melody(
    band: "_Band", piece: Piece, how: Style, bar: int, timbre: Timbre, lead_in_s: float
) -> None:
    """Notes of one to two beats near the chord, one octave up, with rests."""
    rng, beat_s, beat = band.rng, 60.0 / piece.bpm, 0
    while beat < how.beats_per_bar:
        length = min(int(rng.integers(1, 3)), how.beats_per_bar - beat)
        if rng.random() < 0.75:
            degree = piece.chord_at(bar) + 7 + int(rng.choice((0, 2, 4, 1, -1)))
            start = lead_in_s + (bar * how.beats_per_bar + beat) * beat_s
            band.play(band.tone(piece.pitch(degree), 0.9 * length * beat_s, timbre), start, 0.3)
        beat += length


class _Band:
    """Mixes what is played; a note that comes again is not made again."""

    def __init__(self, rng: np.random.Generator, seconds: float) -> None:
        self.rng = rng
        self.mixed: Samples = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
        self._made: dict[tuple[int, float, Timbre], Samples] = {}
        self._maker: Callable[[float, float, Timbre], Samples] = (
            (lambda hertz, seconds, _: plucked(hertz, seconds, rng))
            if rng.random() < 0.2
            else (lambda hertz, seconds, timbre: note(hertz, seconds, timbre, rng))
        )

    def tone(self, midi: int, seconds: float, timbre: Timbre) -> Samples:
        wanted = (midi, round(seconds, 3), timbre)
        if wanted not in self._made:
            self._made[wanted] = self._maker(hertz_of(midi), seconds, timbre)
        return self._made[wanted]

    def play(self, sound: Samples, start_s: float, level: float) -> None:
        """Players are a few milliseconds early or late, and never equally loud."""
        if level <= 0:
            return
        first = round((start_s + self.rng.normal(0, 0.004)) * SAMPLE_RATE)
        first = max(0, first)
        room = self.mixed[first : first + len(sound)]
        room += np.float32(level * self.rng.uniform(0.8, 1.15)) * sound[: len(room)]
