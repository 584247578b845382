"""Changing the sample rate: of a whole utterance, and of one that is still coming in."""

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly  # type: ignore[import-untyped]  # scipy has no types


def resample(samples: NDArray[np.float32], from_rate: float, to_rate: float) -> NDArray[np.float32]:
    """(S,) float32 at `from_rate` hertz as (ceil(S * to_rate / from_rate),) at `to_rate`.

    Polyphase with an anti-alias filter; zero phase, so nothing is delayed. For a whole utterance,
    not for a stream: each call sees silence before and after its samples.
    """
    if from_rate == to_rate or samples.size == 0:
        return samples.astype(np.float32, copy=False)
    ratio = _ratio(from_rate, to_rate)
    return resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)


class StreamResampler:
    """The same filter for pieces: their concatenation comes out as the whole would.

    A few samples are held back until what follows them is known; `flush` says that silence does.
    """

    def __init__(self, from_rate: float, to_rate: float) -> None:
        ratio = _ratio(from_rate, to_rate)
        self._up, self._down = ratio.numerator, ratio.denominator
        # the filter's reach, in whole periods of the ratio, so that cuts fall on output samples
        slower = max(self._up, self._down)
        reach = -(-_REACH * slower // self._up)
        self._filter = _anti_alias(slower)
        self._context = -(-reach // self._down) * self._down
        self._input = np.zeros(self._context, np.float32)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add (S,) float32; returns what is settled by now."""
        self._input = np.concatenate([self._input, samples.astype(np.float32, copy=False)])
        ready = (self._input.size - 2 * self._context) // self._down * self._down
        return self._take(ready) if ready > 0 else self._input[:0]

    def flush(self) -> NDArray[np.float32]:
        """The rest, as if silence followed; the next push begins after that."""
        pending = self._input.size - self._context
        padded = -(-pending // self._down) * self._down
        fill = np.zeros(padded - pending + self._context, np.float32)
        self._input = np.concatenate([self._input, fill])
        rest = self._take(padded)[: -(-pending * self._up // self._down)]
        self._input = np.zeros(self._context, np.float32)
        return rest

    def _take(self, num_input: int) -> NDArray[np.float32]:
        context, seen = self._context, self._input[: num_input + 2 * self._context]
        out = resample_poly(seen, self._up, self._down, window=self._filter)
        skip = context * self._up // self._down
        self._input = self._input[num_input:]
        settled = out[skip : skip + num_input * self._up // self._down]
        return settled.astype(np.float32, copy=False)


_REACH = 10
"""scipy's default filter reaches 10 periods of the slower of the two rates."""


@cache
def _anti_alias(slower: int) -> NDArray[np.float32]:
    """Filter of scipy by default: designing it at each push took thrice the time of its use."""
    if slower == 1:  # the rates are equal, and nothing is filtered
        return np.ones(1, np.float32)
    taps: NDArray[np.float64] = firwin(2 * _REACH * slower + 1, 1 / slower, window=("kaiser", 5.0))
    return taps.astype(np.float32)


def _ratio(from_rate: float, to_rate: float) -> Fraction:
    return Fraction(to_rate / from_rate).limit_denominator(2000)
