"""What noisy latents alone tell of x0."""

from torch import Tensor


def linear_estimate(sigma: Tensor | float) -> Tensor | float:
    """Factor that makes (1 - sigma) x0 + sigma noise the best linear estimate of x0.

    For x0 of unit variance; 0 for pure noise, which tells nothing.
    """
    return (1 - sigma) / ((1 - sigma) ** 2 + sigma**2)
