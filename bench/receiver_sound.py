"""What is audible of a call, and when."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avatar.media import SPEECH_RATE
from bench.receiver_tracks import SOUND_RATE, Received

AUDIBLE = 10 ** (-50 / 20)
Piece = Received[NDArray[np.int16]]


def spoken_span(samples: NDArray[np.float32]) -> tuple[int, int]:
    """First sample of (S,) at 16 kHz in which somebody speaks, and the first one after the last;
    in steps of 10 ms.
    """
    step = SPEECH_RATE // 100
    levels = np.sqrt((samples[: len(samples) // step * step].reshape(-1, step) ** 2).mean(1))
    loud = np.flatnonzero(levels > AUDIBLE)
    return int(loud[0]) * step, int(loud[-1] + 1) * step


def first_audible_s(pieces: Sequence[Piece], since_s: float) -> float | None:
    """When the first audible sample after that instant had arrived, its place in the packet
    included; None where there is none.
    """
    for piece in pieces:
        loud = _audible(piece)
        if piece.arrived_s > since_s and loud.size:
            return piece.arrived_s + float(loud[0]) / SOUND_RATE
    return None


def last_audible_s(pieces: Sequence[Piece], since_s: float, until_s: float) -> float | None:
    """When the last audible sample between two instants had arrived; None where there is none."""
    for piece in reversed(pieces):
        loud = _audible(piece)
        if since_s < piece.arrived_s < until_s and loud.size:
            return piece.arrived_s + float(loud[-1] + 1) / SOUND_RATE
    return None


def _audible(piece: Piece) -> NDArray[np.intp]:
    return np.flatnonzero(np.abs(piece.what.astype(np.int32)) > AUDIBLE * 32768)
