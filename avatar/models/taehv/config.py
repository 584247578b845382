"""Architectures of the tiny decoder, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TAEHVConfig:
    """Widths from coarse to fine, and how many frames each level makes of one.

    Each of the first three levels doubles width and height.
    """

    latent_channels: int = 16
    dims: tuple[int, int, int, int] = (256, 128, 64, 64)
    grows_time: tuple[int, int, int] = (1, 2, 2)

    @property
    def group(self) -> int:
        """Frames in one latent frame."""
        return self.grows_time[0] * self.grows_time[1] * self.grows_time[2]


TAEW_2_1 = TAEHVConfig()
"""The public `taew2_1`, for the latents of Wan2.1 and of Wan2.2's 14B models."""


def toy() -> TAEHVConfig:
    """For tests on a CPU."""
    return TAEHVConfig(dims=(16, 12, 8, 8))
