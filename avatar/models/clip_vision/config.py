"""Architectures of the picture encoder, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CLIPVisionConfig:
    """Geometry of a CLIP vision transformer, without its last layer: Wan takes what goes into it.

    `num_layers` are those that run, one fewer than the public file holds.
    """

    dim: int
    ffn_dim: int
    num_layers: int
    num_heads: int
    image_size: int = 224
    patch: int = 14

    @property
    def num_tokens(self) -> int:
        """One for the whole picture, one for each patch."""
        return 1 + (self.image_size // self.patch) ** 2


VIT_H_14 = CLIPVisionConfig(dim=1280, ffn_dim=5120, num_layers=31, num_heads=16)
"""Of Wan2.1's image-to-video models: open-clip's XLM-RoBERTa-Large-ViT-Huge-14, the visual half."""


def toy() -> CLIPVisionConfig:
    """For tests on a CPU."""
    return CLIPVisionConfig(dim=32, ffn_dim=64, num_layers=2, num_heads=2, image_size=28)
