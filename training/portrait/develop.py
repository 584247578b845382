"""From linear light to the bytes of a picture."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# The curve y = x (a x + b) / (x (c x + d) + e), after Narkowicz' fit of the ACES film curve.
_A, _B, _C, _D, _E = 2.51, 0.03, 2.43, 0.59, 0.14


@njit(cache=True, fastmath=True)
def develop(light: Floats, out: NDArray[np.uint8]) -> None:
    """Film curve, gamma 2, and the mean of each n x n block, n being the ratio of the sizes."""
    n = light.shape[0] // out.shape[0]
    share = np.float32(255.0 / (n * n))
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            for ch in range(3):
                total = np.float32(0.5)
                for y in range(n):
                    for x in range(n):
                        v = max(light[row * n + y, column * n + x, ch], np.float32(0.0))
                        top = v * (np.float32(2.51) * v + np.float32(0.03))
                        bottom = v * (np.float32(2.43) * v + np.float32(0.59)) + np.float32(0.14)
                        total += share * np.sqrt(min(top / bottom, np.float32(1.0)))
                out[row, column, ch] = np.uint8(min(total, np.float32(255.0)))


def exposed(display: NDArray[np.float64]) -> Floats:
    """The light that `develop` turns into these display colours in [0, 1]."""
    y = np.clip(display, 0.0, 0.985) ** 2
    # (a - c y) x^2 + (b - d y) x - e y = 0
    p, q, r = _A - _C * y, _B - _D * y, -_E * y
    light: Floats = ((-q + np.sqrt(q * q - 4 * p * r)) / (2 * p)).astype(np.float32)
    return light
