"""A counter as tones, one symbol every 40 ms, that is read back to a fraction of a millisecond."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from avatar.media import SPEECH_RATE

SYMBOL_S = 0.04
BODY_S = 0.032
"""A symbol sounds for this long; the silence after it makes the next onset a clean edge."""
EDGE_S = 0.001
NUM_SYMBOLS = 256
AMPLITUDE = 0.22
"""Of each of the two tones."""

# All of them, and all their differences, are multiples of 100 Hz: over 20 ms any two of them are
# orthogonal, so that a symbol is read without crosstalk. None is above half of SPEECH_RATE.
LOW_HZ = 700 + 100 * np.arange(16)
HIGH_HZ = 2600 + 200 * np.arange(16)


@dataclass(frozen=True)
class Tone:
    """One symbol as it was heard; `start_s` is its onset, in seconds from the first sample."""

    start_s: float
    symbol: int


def tone(symbol: int, sample_rate: int) -> NDArray[np.float32]:
    """40 ms of sound, (sample_rate / 25,) float32: two tones, then 8 ms of silence.

    Raises:
        ValueError: `symbol` is none, or 40 ms are no whole number of samples.
    """
    if not 0 <= symbol < NUM_SYMBOLS:
        raise ValueError(f"symbol {symbol} given, 0 to {NUM_SYMBOLS - 1} expected")
    num_samples, rest = divmod(sample_rate, 25)
    if rest:
        raise ValueError(f"40 ms are no whole number of samples at {sample_rate} Hz")
    time = np.arange(num_samples) / sample_rate
    edge = np.clip(np.minimum(time, BODY_S - time) / EDGE_S, 0, 1)
    phases = 2 * np.pi * np.outer(_frequencies(symbol), time)
    sound: NDArray[np.float32] = (
        AMPLITUDE * (0.5 - 0.5 * np.cos(np.pi * edge)) * np.sin(phases).sum(0)
    )
    return sound.astype(np.float32)


def read_tones(samples: NDArray[np.float32]) -> list[Tone]:
    """The symbols in (S,) samples at SPEECH_RATE that are there whole, and begin after a pause.

    Other sound is skipped.
    """
    found: list[Tone] = []
    over = 0
    for edge in _rising_edges(samples):
        body = samples[edge : edge + _BODY]
        if edge < over or body.size < _BODY:
            continue
        symbol = _symbol(body[_CORE_FROM : _CORE_FROM + _CORE])
        if symbol is not None:
            found.append(Tone(_onset(samples, edge, symbol) / SPEECH_RATE, symbol))
            over = edge + _CORE_FROM + _CORE
    return found


_BODY = round(BODY_S * SPEECH_RATE)
_CORE = SPEECH_RATE // 50  # 20 ms, over which the tones are orthogonal
_CORE_FROM = (_BODY - _CORE) // 2
_BOX = SPEECH_RATE // 200  # 5 ms: whole beats of any two tones that are 400 Hz or more apart
_NEAR = round(1.5 * SYMBOL_S * SPEECH_RATE)
_SEARCH = SPEECH_RATE // 250  # 4 ms
_MIN_LEVEL = 0.004
_PURITY = 0.75
_BALANCE = 0.15
_FREQUENCIES = np.concatenate([LOW_HZ, HIGH_HZ])
_PROBES = np.exp(-2j * np.pi * np.outer(_FREQUENCIES, np.arange(_CORE)) / SPEECH_RATE) * (2 / _CORE)


def _frequencies(symbol: int) -> NDArray[np.int64]:
    return np.array([LOW_HZ[symbol // 16], HIGH_HZ[symbol % 16]])


def _rising_edges(samples: NDArray[np.float32]) -> list[int]:
    """Where the level rises, after a pause, through half of what it reaches nearby."""
    if samples.size < _BODY:
        return []
    power = np.convolve(samples.astype(np.float64) ** 2, np.full(_BOX, 1 / _BOX), "same")
    level = np.sqrt(np.maximum(power, 0))
    num_blocks = -(-level.size // _BOX)
    blocks = np.pad(level, (0, num_blocks * _BOX - level.size)).reshape(num_blocks, _BOX).max(1)
    reach = _NEAR // _BOX
    around = np.lib.stride_tricks.sliding_window_view(np.pad(blocks, reach), 2 * reach + 1).max(1)
    loudest = np.maximum(np.repeat(around, _BOX)[: level.size], _MIN_LEVEL)
    is_on, is_off = level > 0.6 * loudest, level < 0.3 * loudest
    last_off = np.maximum.accumulate(np.where(is_off, np.arange(level.size), -1))
    edges: list[int] = []
    for at in np.flatnonzero(is_on[1:] & ~is_on[:-1]) + 1:
        if last_off[at] >= (edges[-1] if edges else 0):  # not where a fading tone flickers
            edges.append(int(at))
    return edges


def _symbol(core: NDArray[np.float32]) -> int | None:
    """Which two tones these 20 ms are, or None where they are anything else."""
    power = np.abs(_PROBES @ core) ** 2 / 2
    low, high = int(power[:16].argmax()), int(power[16:].argmax())
    two, total = power[low] + power[16 + high], float(np.mean(core.astype(np.float64) ** 2))
    weaker = min(power[low], power[16 + high])
    if total < _MIN_LEVEL**2 or two < _PURITY * total or weaker < _BALANCE * two:
        return None
    return low * 16 + high


def _onset(samples: NDArray[np.float32], edge: int, symbol: int) -> float:
    """The onset, in samples: where the symbol's own shape fits best, whatever its phase."""
    first = max(0, edge - _SEARCH)
    window = samples[first : edge + _SEARCH + _BODY]
    fit = np.abs(np.correlate(window.astype(np.complex128), _shape(symbol), "valid"))
    best = int(fit.argmax())
    if 0 < best < fit.size - 1:  # the top of the parabola through the three best
        before, at, after = fit[best - 1 : best + 2]
        return first + best + 0.5 * (before - after) / (before - 2 * at + after)
    return float(first + best)


@cache
def _shape(symbol: int) -> NDArray[np.complex128]:
    time = np.arange(_BODY) / SPEECH_RATE
    edge = np.clip(np.minimum(time, BODY_S - time) / EDGE_S, 0, 1)
    tones: NDArray[np.complex128] = np.exp(2j * np.pi * np.outer(_frequencies(symbol), time)).sum(0)
    return tones * (0.5 - 0.5 * np.cos(np.pi * edge))
