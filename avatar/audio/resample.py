"""Changing the sample rate of a whole utterance."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly  # type: ignore[import-untyped]  # scipy has no types


def resample(samples: NDArray[np.float32], from_rate: float, to_rate: float) -> NDArray[np.float32]:
    """(S,) float32 at `from_rate` hertz as (ceil(S * to_rate / from_rate),) at `to_rate`.

    Polyphase with an anti-alias filter; zero phase, so nothing is delayed. For a whole utterance,
    not for a stream: each call sees silence before and after its samples.
    """
    if from_rate == to_rate or samples.size == 0:
        return samples.astype(np.float32, copy=False)
    ratio = Fraction(to_rate / from_rate).limit_denominator(2000)
    return resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
