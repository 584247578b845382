"""How loud samples are."""

import numpy as np
from numpy.typing import NDArray


def rms_dbfs(samples: NDArray[np.float32]) -> float:
    """Root mean square in dB below full scale (a square wave of 1.0 is 0 dB); -inf for silence."""
    if samples.size == 0:
        return -np.inf
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return float(10 * np.log10(power)) if power > 0 else -np.inf


def has_sound(samples: NDArray[np.float32]) -> bool:
    """Whether any of it is louder than the noise of a quiet room, -46 dB below full scale."""
    return peak(samples) > 0.005


def peak(samples: NDArray[np.float32]) -> float:
    """Largest magnitude, 0 for no samples."""
    return float(np.max(np.abs(samples))) if samples.size else 0.0
