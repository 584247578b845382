"""The way from the caller's loudspeaker to the microphone: how late echo comes, and what is in it.

Sound is compared in blocks of 16 ms and 257 frequencies. `Search` finds the delay, by the
coherence of the microphone with each earlier block; `Canceller` learns the way from there on.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft  # type: ignore[import-untyped]  # has no types

from avatar.media import SPEECH_RATE

Samples = NDArray[np.float32]
Spectra = NDArray[np.complex64]

BLOCK: Final = 256
"""Samples of one step: 16 ms at 16 kHz."""
MAX_DELAY_BLOCKS: Final = 40
"""Echo is looked for up to 640 ms after it was played, network and buffers included."""
ROOM_BLOCKS: Final = 10
"""Length of the way that is learnt, from the block before the first echo: 160 ms of a room."""

_BINS: Final = BLOCK + 1
_SPEECH: Final = slice(7, 160)  # 220 to 5000 Hz: where speech is, and small loudspeakers play
BAND_EDGES: Final = np.searchsorted(
    np.arange(_BINS) * SPEECH_RATE / (2 * BLOCK),
    [200, 400, 600, 800, 1000, 1250, 1500, 1800, 2200, 2700, 3300, 4000, 5000, 6500],
)
_AUDIBLE: Final = 1e-2
"""Mean power of a bin above which a block counts as sound: -64 dBFS."""


class Search:
    """Finds the block, counted back from now, with which the microphone's echo begins."""

    def __init__(self) -> None:
        bins = _SPEECH.stop - _SPEECH.start
        self._cross = np.zeros((MAX_DELAY_BLOCKS, bins), np.complex64)
        self._played = np.zeros((MAX_DELAY_BLOCKS, bins), np.float32)
        self._heard = np.zeros(bins, np.float32)
        self._num_looked = np.zeros(MAX_DELAY_BLOCKS, np.int64)
        self._rival, self._rival_blocks = -1, 0
        self.is_found = False
        self.delay = 0
        self.power_ratio = 0.0
        self.shared = 0.0
        """Which part of the sound is echo, as far as coherence shows it."""

    def look(self, played: Spectra, heard: Spectra) -> bool:
        """Take one more block in; whether `delay` and `power_ratio` are new."""
        played, heard = played[:, _SPEECH], heard[_SPEECH]
        power = power_of(played)
        self._cross = _follow(self._cross, played.conj() * heard)
        self._played = _follow(self._played, power)
        self._heard = _follow(self._heard, power_of(heard))
        self._num_looked += power.mean(1) > _AUDIBLE
        self.shared = 0.0
        sounds = self._played.mean(1) > _AUDIBLE
        judged = sounds & (self._num_looked >= _LOOKS)
        if judged.sum() < 3:
            return False
        coherence = (power_of(self._cross) / (self._played * self._heard + 1e-6)).mean(1)
        # any two voices are a little coherent over 200 ms: what counts is to stand out
        excess = np.where(judged, coherence - 2 * np.median(coherence[sounds]) - 0.03, 0)
        best = int(np.argmax(excess))
        self.shared = float(2.5 * np.maximum(excess, 0).sum())
        if excess[best] <= 0 or not self._is_news(best, coherence):
            return False
        self.is_found, self.delay = True, max(0, best - 1)
        ratio = float(self._heard.sum() / self._played[best].sum())
        self.power_ratio = min(8.0 * float(excess[best]) * ratio, 4.0)
        return True

    def assumed(self, played: Spectra) -> NDArray[np.float64]:
        """Powers of the bands that an echo not found may have: 3 dB down until looked for."""
        power = power_of(played)
        unknown = self._num_looked < _LOOKS
        bound = 0.5 * 0.001 * power.max(0)
        if unknown.any():
            bound += 0.5 * 0.5 * power[unknown].max(0)
        return bands(bound)

    def _is_news(self, best: int, coherence: NDArray[np.float32]) -> bool:
        if not self.is_found:
            return True
        known = coherence[self.delay : self.delay + 3]
        if self.delay <= best < self.delay + 3 or coherence[best] <= 1.5 * known.max():
            self._rival, self._rival_blocks = -1, 0
            return False
        self._rival_blocks = self._rival_blocks + 1 if best == self._rival else 1
        self._rival = best
        return self._rival_blocks >= _LOOKS


_LOOKS = 12  # blocks of sound after which coherence tells something


class Canceller:
    """Partitioned-block frequency-domain Kalman filter (Kuech, Mabande, Enzner, ICASSP 2014).

    Beside the way it keeps how far off each coefficient may still be, so that it learns fast at
    first and holds still while the caller speaks.
    """

    def __init__(self) -> None:
        self.begin(0, 0.0)
        self.leak = 1.0
        """Which part of the echo's power is left: power of the rest, as it follows the echo's."""

    def begin(self, delay: int, power_ratio: float) -> None:
        """Learn anew, for an echo from `delay` blocks on with this power for that played."""
        self._delay = delay
        decay = 0.7 ** np.maximum(0, np.arange(ROOM_BLOCKS) - 1)  # 150 ms for 60 dB
        self._way = np.zeros((ROOM_BLOCKS, _BINS), np.complex64)
        variance = power_ratio * decay / decay.sum()
        self._variance = np.tile(variance[:, None], _BINS).astype(np.float32)
        self._caller = np.full(_BINS, 1e-6, np.float32)
        self._mean_rest = self._mean_echo = np.zeros(len(BAND_EDGES) - 1)
        self._joint = self._square = 0.0
        self._age = 0
        self.leak = 1.0

    def cancel(self, heard: Samples, spectra: Spectra) -> tuple[Samples, NDArray[np.float64]]:
        """The block without its echo, and the powers of the bands that may still be echo."""
        played = spectra[self._delay : self._delay + ROOM_BLOCKS]
        power = power_of(played)
        self._way *= _KEEPS
        changed = power_of(self._way) + 1e-5
        self._variance = _KEEPS**2 * self._variance + (1 - _KEEPS**2) * changed
        echo = (played * self._way).sum(0)
        rest = heard - fft.irfft(echo)[BLOCK:]
        spectrum = padded(rest)
        # half the power: a block is half of its transform
        doubt = 0.5 * (power * self._variance).sum(0)
        self._caller = 0.8 * self._caller + 0.2 * power_of(spectrum)
        step = self._variance / (doubt + self._caller + 1e-10)
        change = fft.irfft(step * played.conj() * spectrum, axis=1)
        change[:, BLOCK:] = 0  # what would wrap around
        self._way += fft.rfft(change, axis=1)
        self._variance *= 1 - 0.25 * np.minimum(step * power, 1)
        expected = bands(doubt + 0.5 * power_of(echo))
        self._measure(bands(power_of(spectrum)), expected)
        return rest, self.leak * expected

    def _measure(self, rest: NDArray[np.float64], echo: NDArray[np.float64]) -> None:
        """Regress the rest's power on the echo's: the caller's comes and goes on its own.

        J.-M. Valin, On adjusting the learning rate in frequency domain echo cancellation, 2007.
        """
        if echo.sum() < 1e-3:
            return
        if not self._age:
            self._mean_rest, self._mean_echo = rest, echo
        self._age += 1
        self._mean_rest = 0.9 * self._mean_rest + 0.1 * rest
        self._mean_echo = 0.9 * self._mean_echo + 0.1 * echo
        weight = 1 / (self._mean_echo**2 + 1e-6)
        moved = (echo - self._mean_echo) * weight
        self._joint = 0.97 * self._joint + 0.03 * float((moved * (rest - self._mean_rest)).sum())
        self._square = 0.97 * self._square + 0.03 * float((moved * (echo - self._mean_echo)).sum())
        if self._age > _SETTLED:
            self.leak = min(max(self._joint / (self._square + 1e-3), 0.01), 4.0)
        if self.leak > 2:
            self._variance *= 1.05  # the way has changed, or was taken for too quiet


_KEEPS = 0.9995  # of the way, from one block to the next: people and doors move
_SETTLED = 25  # blocks


def _follow(before: NDArray[Any], now: NDArray[Any]) -> NDArray[Any]:
    """Exponential mean over about 200 ms."""
    return 0.92 * before + 0.08 * now


def padded(samples: Samples) -> Spectra:
    return fft.rfft(np.concatenate([np.zeros(BLOCK, np.float32), samples]))


def power_of(spectra: Spectra) -> Samples:
    return spectra.real**2 + spectra.imag**2


def bands(power: Samples) -> NDArray[np.float64]:
    return np.add.reduceat(power, BAND_EDGES)[:-1].astype(np.float64)
