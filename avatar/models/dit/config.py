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
class FrameAudioConfig:
    """Speech as InfiniteTalk hears it, and its audio cross-attention in every block.

    A video frame sees `window_frames` frames of speech around itself, each of `dim` features
    (wav2vec2-base: 12 hidden states of 768). A latent's frames overlap in what they see, so it gets
    every frame once: the first latent its window, later ones their `frames_per_latent` and the
    reach on either side.
    """

    dim: int = 12 * 768
    window_frames: int = 5
    frames_per_latent: int = 4
    hidden_dim: int = 512
    context_tokens: int = 32
    context_dim: int = 768

    @property
    def reach(self) -> int:
        """Video frames of speech seen on either side of a latent's own."""
        return self.window_frames // 2

    @property
    def frames_seen(self) -> int:
        """Video frames of speech that a latent after the first sees."""
        return self.frames_per_latent + 2 * self.reach


@dataclass(frozen=True)
class S2VConfig:
    """What Wan2.2-S2V-14B has beside its text-to-video core.

    Speech is `audio_layers` hidden states of `audio_dim` features for every video frame; a causal
    encoder makes `audio_tokens` + 1 local tokens and a global one of each latent frame's, which
    enter after the blocks of `inject_layers`. `frame_buckets` are the latent frames of the past,
    nearest first, that become tokens at one, a half and a quarter of the resolution.
    """

    audio_dim: int = 1024
    audio_layers: int = 25
    audio_tokens: int = 4
    inject_layers: tuple[int, ...] = (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)
    condition_channels: int = 16
    frame_buckets: tuple[int, int, int] = (1, 2, 16)
    frames_per_latent: int = 4

    @property
    def left_frames(self) -> int:
        """Video frames of speech before a latent's own that are needed to encode it exactly.

        It sees five of them. The encoder's stride is four, and four more keep the edge's
        replicated padding out of what a latent sees.
        """
        return 9


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
    scales_latents: bool = True
    """Latents are divided by a trained spread; public models leave that to their VAE."""
    frame_audio: FrameAudioConfig | None = None
    s2v: S2VConfig | None = None

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.head_dim % 2:
            raise ValueError(f"dim {self.dim} does not divide into {self.num_heads} even heads")
        heard = [part for part in (self.audio, self.frame_audio, self.s2v) if part is not None]
        if len(heard) > 1:
            raise ValueError("one of audio, frame_audio and s2v, not several")
        if self.s2v and (beyond := [n for n in self.s2v.inject_layers if n >= self.num_layers]):
            raise ValueError(f"inject_layers {beyond} are not among {self.num_layers} layers")

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
