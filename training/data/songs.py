"""Whole songs: instruments and a singer over them, with the beats and the mouth that sings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.acoustics import STUDIO, Acoustics, recorded
from training.data.corpus import TRAIN
from training.data.music import Piece, Samples, make_piece
from training.data.singing import Choir, drawn_singer
from training.data.visemes import mouth_curves

SONG_S = 16.0
FPS = 25


@dataclass(frozen=True)
class Song:
    """`voice` and `backing` are (S,) float32 at 16 kHz; `curves` (T, 5) at 25 fps is the mouth."""

    piece: Piece
    voice: Samples
    curves: NDArray[np.float32]

    @property
    def backing(self) -> Samples:
        return self.piece.samples

    def mixed(self, voice_db: float = 6.0) -> Samples:
        """Both, the voice `voice_db` louder while it sounds; peak 0.9."""
        whole = self.voice * np.float32(10 ** (voice_db / 20) * loudness(self.backing))
        whole = whole / np.float32(loudness(self.voice)) + self.backing
        mixed: Samples = whole * np.float32(0.9 / (np.abs(whole).max() + 1e-9))
        return mixed


def make_song(
    rng: np.random.Generator,
    style: str,
    seconds: float,
    choir: Choir,
    *,
    sentences: Sequence[str] = TRAIN,
    acoustics: Acoustics = STUDIO,
    bpm: float | None = None,
) -> Song:
    """`sentences` sung over a new piece; half of them have a melody beside the voice."""
    piece = make_piece(rng, style, seconds, bpm=bpm, lead=bool(rng.random() < 0.5))
    sung = choir.song(piece, sentences, drawn_singer(rng), rng)
    curves = mouth_curves(sung.phonemes, seconds)[: int(seconds * FPS)]
    return Song(piece, recorded(sung.samples, acoustics, rng), curves)


def loudness(samples: Samples) -> float:
    """Root mean square of what is not silent."""
    sounding = samples[np.abs(samples) > 1e-3]
    return float(np.sqrt(np.mean(sounding**2))) if len(sounding) else 1e-3
