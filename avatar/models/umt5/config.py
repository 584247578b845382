"""Architectures of the text encoder, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UMT5Config:
    """Geometry of UMT5's encoder.

    `max_tokens`: longer prompts are cut, shorter ones are padded with zeros by who uses them.
    """

    dim: int
    ffn_dim: int
    num_layers: int
    num_heads: int
    head_dim: int = 64
    vocabulary: int = 256_384
    num_buckets: int = 32
    max_distance: int = 128
    max_tokens: int = 512


UMT5_XXL = UMT5Config(dim=4096, ffn_dim=10_240, num_layers=24, num_heads=64)
"""Of all Wan2.1 and Wan2.2 models: 5.7 B parameters, 11 GB in bfloat16."""


def toy() -> UMT5Config:
    """For tests on a CPU."""
    return UMT5Config(
        dim=32, ffn_dim=48, num_layers=2, num_heads=2, head_dim=16, vocabulary=64, max_tokens=12
    )
