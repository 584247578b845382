"""Architectures of the Wan VAE, as data."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class WanVAEConfig:
    """Geometry of the Wan2.1 VAE, and the statistics that its latents are normalised with.

    `dim_mult` are the widths of the levels in `base_dim`; between them `halves_time` says which
    steps of the encoder halve time as well as space.
    """

    base_dim: int
    latents_mean: tuple[float, ...]
    latents_std: tuple[float, ...]
    latent_channels: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    halves_time: tuple[bool, ...] = (False, True, True)

    def __post_init__(self) -> None:
        for name in ("latents_mean", "latents_std"):
            if len(getattr(self, name)) != self.latent_channels:
                given = len(getattr(self, name))
                raise ValueError(f"{name} has {given} values, {self.latent_channels} expected")
        if min(self.latents_std) <= 0:
            raise ValueError(f"latents_std is {min(self.latents_std)}, more than 0 expected")
        if len(self.halves_time) != len(self.dim_mult) - 1 or sum(self.halves_time) != 2:
            raise ValueError(f"halves_time {self.halves_time}: 4 frames a latent expected")
        if len(self.dim_mult) != 4:
            raise ValueError(f"{len(self.dim_mult)} levels given, 4 (8 pixels a cell) expected")


_LATENTS_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
_LATENTS_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip

WAN_2_1 = WanVAEConfig(
    base_dim=96,
    latents_mean=_LATENTS_MEAN,
    latents_std=_LATENTS_STD,
)
"""The public one, of all Wan2.1 models and of Wan2.2's 14B models."""


def toy() -> WanVAEConfig:
    """The same graph and statistics, a few hundred thousand parameters: for tests on a CPU."""
    return replace(WAN_2_1, base_dim=8, num_res_blocks=1)
