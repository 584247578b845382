"""Architectures of the one DiT class, as data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class AudioConfig:
    """Audio projection module and audio cross-attention.

    Each latent frame sees `window_latents` latent frames of speech around itself (TalkingMachines,
    arXiv:2506.03099: 5), each of `tokens_per_latent` tokens of `dim` features. The projection turns
    such a window into a code of `code_dim` values (None: `hidden_dim`) and that into
    `context_tokens` tokens of `context_dim` for the cross-attention.
    """

    dim: int
    tokens_per_latent: int
    window_latents: int = 5
    hidden_dim: int = 256
    context_tokens: int = 8
    context_dim: int = 128
    code_dim: int | None = None

    def __post_init__(self) -> None:
        if self.window_latents % 2 == 0:
            raise ValueError(f"window_latents is {self.window_latents}, an odd number expected")

    @property
    def reach(self) -> int:
        """Latent frames of speech seen on either side."""
        return self.window_latents // 2


@dataclass(frozen=True)
class DiTConfig:
    """Geometry of a Wan-style video transformer.

    `condition_channels` are concatenated to the noisy latents (Wan I2V: 4 mask + 16 image).
    `text_dim` and `image_dim` are None where a profile has no such cross-attention.
    `num_controls` explicit motion values per latent frame steer pose and blinks; 0 for none.
    `grid` adds a learned embedding for each of its tokens, moved by the controls; None leaves
    position to RoPE alone.
    """

    latent_channels: int
    condition_channels: int
    dim: int
    ffn_dim: int
    num_layers: int
    num_heads: int
    patch: int
    audio: AudioConfig | None
    text_dim: int | None = None
    image_dim: int | None = None
    num_controls: int = 0
    grid: tuple[int, int] | None = None
    frequency_dim: int = 256
    eps: float = 1e-6
    prediction: Literal["velocity", "x0"] = "velocity"
    """With "x0" the model is shown the best linear estimate of x0 in place of the noisy latents."""
    residual: bool = False
    """Denoise the difference from the portrait's latent instead of the latent itself."""

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.head_dim % 2:
            raise ValueError(f"dim {self.dim} does not divide into {self.num_heads} even heads")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


def tiny(latent_channels: int, audio_dim: int, num_controls: int = 44) -> DiTConfig:
    """The default avatar: a few million parameters, two forwards a chunk on one CPU core."""
    return DiTConfig(
        latent_channels=latent_channels,
        condition_channels=latent_channels,  # the portrait's latent
        dim=256,
        ffn_dim=1024,
        num_layers=6,
        num_heads=4,
        patch=4,
        # a narrow code, pre-trained: a few hundred clips do not teach what speech looks like
        audio=AudioConfig(dim=audio_dim, tokens_per_latent=8, code_dim=32),
        num_controls=num_controls,
        grid=(8, 8),
        prediction="x0",
        residual=True,
    )


def tm_18b() -> DiTConfig:
    """The paper's model: Wan2.1-I2V-14B with an audio projection module of about 1.2 B.

    The audio embedding is wav2vec2-base's 12 hidden states of 4 video frames a latent.
    """
    return DiTConfig(
        latent_channels=16,
        condition_channels=20,
        dim=5120,
        ffn_dim=13824,
        num_layers=40,
        num_heads=40,
        patch=2,
        audio=AudioConfig(
            dim=12 * 768, tokens_per_latent=4, hidden_dim=5120, context_tokens=32, context_dim=1024
        ),
        text_dim=4096,
        image_dim=1280,
    )
