"""Noise levels of flow matching: x_sigma = (1 - sigma) x0 + sigma noise."""

import torch
from torch import Tensor


def shifted_sigmas(num_steps: int, shift: float) -> tuple[float, ...]:
    """Noise levels from 1 down to 0, pushed towards high noise.

    sigma' = shift * sigma / (1 + (shift - 1) * sigma), SD3 eq. 23 (arXiv:2403.03206).

    Returns:
        num_steps + 1 values, strictly decreasing, first 1.0, last 0.0.

    Raises:
        ValueError: If `num_steps` is less than 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}, at least 1 expected")
    even = [1 - i / num_steps for i in range(num_steps + 1)]
    return tuple(shift * s / (1 + (shift - 1) * s) for s in even)


def add_noise(clean: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """The straight path of flow matching; a tensor `sigma` must broadcast against `clean`."""
    return (1 - sigma) * clean + sigma * noise


def predicted_clean(prediction: Tensor, noisy: Tensor, sigma: Tensor | float, kind: str) -> Tensor:
    """x0 from what the model predicts: itself, or noisy - sigma * velocity."""
    return prediction if kind == "x0" else noisy - sigma * prediction


def chunk_noise(shape: tuple[int, ...], seed: int, epoch: int, seq: int, step: int) -> Tensor:
    """Standard normal noise that depends on nothing but its arguments, float32 on the CPU.

    A chunk that is made again, on whatever worker, is the same chunk.
    """
    generator = torch.Generator().manual_seed(drawn(seed, epoch, seq, step) & (_MASK >> 1))
    return torch.randn(shape, generator=generator)


def drawn(seed: int, epoch: int, seq: int, step: int) -> int:
    """64 random bits that depend on nothing but the arguments."""
    key = 0
    for part in (seed, epoch, seq, step):
        key = _splitmix64(key ^ (part & _MASK))
    return key


_MASK = (1 << 64) - 1


def _splitmix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
