"""Keeps the avatar's own voice, as the caller's microphone picks it up, from being heard as speech.

What comes along the way from loudspeaker to microphone is subtracted (echo_path.py); of the rest
passes what is louder than the echo could still be. Browsers cancel echo too; this is for what they
leave.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray
from scipy import fft  # type: ignore[import-untyped]  # has no types

from avatar.media import SPEECH_RATE
from services.gateway.echo_path import (
    BAND_EDGES,
    BLOCK,
    MAX_DELAY_BLOCKS,
    ROOM_BLOCKS,
    Canceller,
    Samples,
    Search,
    bands,
    padded,
    power_of,
)


class EchoGate:
    """One caller's gate: `play` what the caller is played, `hear` what the microphone gives.

    Both count samples at 16 kHz: the n-th one played belongs to the n-th one heard, whatever the
    sizes of the calls, and it comes back between 0 and 500 ms later. What was played before the
    first sound was heard lies before it, but for 40 ms. Where the microphone falls behind for a
    second (its packets are lost), what was played meanwhile is skipped.
    """

    def __init__(self) -> None:
        self._pairs = _Pairs()
        self._played = np.zeros(BLOCK, np.float32)  # the block before
        self._spectra = np.zeros((MAX_DELAY_BLOCKS + ROOM_BLOCKS, BLOCK + 1), np.complex64)
        self._search = Search()
        self._canceller = Canceller()
        self._error = np.zeros(len(BAND_EDGES) - 1)
        self._bound = np.zeros(len(BAND_EDGES) - 1)
        self._open_blocks = 0
        self._gain = 1.0

    def play(self, samples: Samples) -> None:
        """What is played from now on, (S,) at 16 kHz in [-1, 1]; silence, too, must be told."""
        self._pairs.play(samples)

    def hear(self, samples: Samples) -> Samples:
        """The microphone's (S,) samples without the echo: silence, where nothing else is in them.

        Whole blocks of 256 come back, as far as it is known what was played meanwhile, which is
        waited for 100 ms; the rest comes with later calls. Bit for bit what was given, while
        nothing but silence has been played for 800 ms.
        """
        pairs = self._pairs.hear(samples)
        passed = [self._pass(heard, played) for heard, played in pairs]
        return np.concatenate(passed) if passed else np.zeros(0, np.float32)

    def _pass(self, heard: Samples, played: Samples) -> Samples:
        newest = fft.rfft(np.concatenate([self._played, played]))
        self._played = played
        self._spectra = np.concatenate([newest[None], self._spectra[:-1]])
        if not self._spectra.any():
            self._open_blocks = _HOLD_BLOCKS
            return self._faded(heard)
        if self._search.look(self._spectra[:MAX_DELAY_BLOCKS], padded(heard)):
            self._canceller.begin(self._search.delay, self._search.power_ratio)
        if self._search.is_found:
            heard, remaining = self._canceller.cancel(heard, self._spectra)
        else:
            remaining = self._search.assumed(self._spectra[:MAX_DELAY_BLOCKS])
        # while the way is not learnt well, a microphone that is mostly echo is all echo
        is_echo = self._search.shared > 0.4 and self._canceller.leak > 0.3
        if self._unexplained(bands(power_of(padded(heard))), remaining) > 0.5 and not is_echo:
            self._open_blocks = _HOLD_BLOCKS
        else:
            self._open_blocks = max(0, self._open_blocks - 1)
        return self._faded(heard)

    def _unexplained(self, error: NDArray[np.float64], remaining: NDArray[np.float64]) -> float:
        """Which part of the sound's power cannot be echo, 0 to 1; powers of bands."""
        self._error = 0.5 * self._error + 0.5 * error
        self._bound = np.maximum(remaining, 0.75 * self._bound)  # the room's tail
        above = np.maximum(self._error - _MARGIN * self._bound, 0)
        return float(above.sum() / (self._error.sum() + 1e-9))

    def _faded(self, heard: Samples) -> Samples:
        before, self._gain = self._gain, 1.0 if self._open_blocks else 0.0
        if before == self._gain:
            return heard if before else np.zeros_like(heard)
        return heard * np.linspace(before, self._gain, BLOCK, dtype=np.float32)


_HOLD_BLOCKS = 10  # 160 ms: the pauses inside a word
_MARGIN = 3.0  # power; by how much a single block may exceed what is expected of it


class _Pairs:
    """Puts what is heard and what was played at the same time together, in blocks."""

    def __init__(self) -> None:
        self._heard = np.zeros(0, np.float32)
        self._played = np.zeros(0, np.float32)
        self._waiting: deque[Samples] = deque()  # played since
        self._num_waiting = 0
        self._has_heard = self._has_played = False
        self._least_lead = SPEECH_RATE
        self._num_watched = 0

    def play(self, samples: Samples) -> None:
        self._has_played = True
        self._waiting.append(samples)
        self._num_waiting += len(samples)
        while self._num_waiting > _MAX_PLAYED:  # nobody listens
            self._num_waiting -= len(self._waiting.popleft())

    def hear(self, samples: Samples) -> list[tuple[Samples, Samples]]:
        self._played = np.concatenate([self._played, *self._waiting])
        self._waiting.clear()
        self._num_waiting = 0
        if not self._has_heard:
            self._has_heard = True
            self._skip(len(self._played) - len(samples) - _CUSHION)
        self._heard = np.concatenate([self._heard, samples])
        waits = self._has_played and len(self._heard) - len(self._played) <= _MAX_WAIT
        num_blocks = (
            min(len(self._heard), len(self._played)) if waits else len(self._heard)
        ) // BLOCK
        length = num_blocks * BLOCK
        heard, self._heard = self._heard[:length], self._heard[length:]
        played, self._played = self._played[:length], self._played[length:]
        played = np.pad(played, (0, length - len(played)))
        self._watch(len(samples))
        return (
            list(zip(np.split(heard, num_blocks), np.split(played, num_blocks), strict=True))
            if num_blocks
            else []
        )

    def _watch(self, num_samples: int) -> None:
        """What was played and not heard for a second, never will be: the microphone's were lost."""
        self._least_lead = min(self._least_lead, len(self._played) - len(self._heard))
        self._num_watched += num_samples
        if self._num_watched >= SPEECH_RATE:
            if self._least_lead > 2 * _CUSHION:
                self._skip(self._least_lead - _CUSHION)
            self._least_lead, self._num_watched = SPEECH_RATE, 0

    def _skip(self, num_samples: int) -> None:
        self._played = self._played[max(0, num_samples) :]


_CUSHION = SPEECH_RATE // 25  # 40 ms: the microphone's packets may come this much early or late
_MAX_WAIT = SPEECH_RATE // 10
_MAX_PLAYED = 30 * SPEECH_RATE
