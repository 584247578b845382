"""Random numbers that are functions of (seed, name, index): the same on every machine."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SPREAD = 0.6
_LONGEST = 4.0
_MEAN = 1 - _SPREAD + _SPREAD * (1 - math.exp(-_LONGEST))


def units(seed: int, name: str, index: Ints) -> Floats:
    """Hash of (seed, name, index) in [0, 1), of `index`'s shape; integers only (splitmix64)."""
    key = seed & 0xFFFFFFFFFFFFFFFF
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def unit(seed: int, name: str, index: int) -> float:
    """One of `units`."""
    return float(units(seed, name, np.array([index], np.int64))[0])


def signed(seed: int, name: str, index: Ints) -> Floats:
    """As `units`, in [-1, 1)."""
    return 2.0 * units(seed, name, index) - 1.0


def interval(seed: int, name: str, index: int) -> float:
    """A random waiting time of mean 1: 0.4 to 2.9, short ones more often than long ones."""
    waited = min(-math.log(1.0 - unit(seed, name, index)), _LONGEST)
    return (1 - _SPREAD + _SPREAD * waited) / _MEAN


def value_noise(seed: int, name: str, at: Floats | Ints, knot: float) -> Floats:
    """Smooth noise in [-1, 1] at the places `at`, through one hashed value every `knot`."""
    knots = np.floor_divide(at, knot).astype(np.int64)
    x = (at - knots * knot) / knot
    weight = x * x * x * (x * (x * 6.0 - 15.0) + 10.0)
    here, there = signed(seed, name, knots), signed(seed, name, knots + 1)
    return here + (there - here) * weight


def two_octaves(seed: int, name: str, at: Floats | Ints, *, slow: float, fast: float) -> Floats:
    """Value noise of two knot distances, within [-1, 1]."""
    drift = value_noise(seed, name + "/slow", at, slow)
    detail = value_noise(seed, name + "/fast", at, fast)
    return 0.8 * drift + 0.2 * detail
