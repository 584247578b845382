"""Architectures of wav2vec2, and the recipes that make features of video frames with it."""

from dataclasses import dataclass
from typing import Literal

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Wav2Vec2Config:
    """Geometry. `stable` is the pre-norm variant, whose convolutions have layer norms and biases.

    The convolutions take a step of `stride` samples; the first token sees `receptive` samples.
    """

    dim: int
    ffn_dim: int
    num_layers: int
    num_heads: int
    stable: bool
    conv_dim: int = 512
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    position_kernel: int = 128
    position_groups: int = 16

    @property
    def stride(self) -> int:
        step = 1
        for each in self.conv_strides:
            step *= each
        return step

    @property
    def receptive(self) -> int:
        reach, step = 1, 1
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            reach, step = reach + (kernel - 1) * step, step * stride
        return reach

    def num_tokens(self, num_samples: int) -> int:
        """Tokens that the convolutions make of so many samples."""
        return (num_samples - self.receptive) // self.stride + 1


BASE = Wav2Vec2Config(dim=768, ffn_dim=3072, num_layers=12, num_heads=12, stable=False)
"""wav2vec2-base-960h and chinese-wav2vec2-base."""
LARGE = Wav2Vec2Config(dim=1024, ffn_dim=4096, num_layers=24, num_heads=16, stable=True)
"""wav2vec2-large-xlsr-53-english."""


def toy_base() -> Wav2Vec2Config:
    """For tests on a CPU: the post-norm variant."""
    return Wav2Vec2Config(
        dim=24, ffn_dim=48, num_layers=3, num_heads=2, stable=False,
        conv_dim=12, position_kernel=16, position_groups=4,
    )  # fmt: skip


def toy_large() -> Wav2Vec2Config:
    """For tests on a CPU: the pre-norm variant."""
    return Wav2Vec2Config(
        dim=32, ffn_dim=64, num_layers=4, num_heads=4, stable=True,
        conv_dim=12, position_kernel=16, position_groups=4,
    )  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint's features are made of a window of sound; the two families do not mix.

    `resample`: to the video's rate either before the transformer, which then runs at that rate, or
    after it, by way of `between_hz` (50 Hz to 30 Hz linearly, then the nearest, counted from the
    session's beginning).
    `skip_embedding` leaves out the first of the hidden states.
    `window_frames` is all that the transformer sees at once, the last frame being the newest.
    `lookahead_frames` beyond a chunk are embedded with it, from as much sound as is known.
    `hold_back_frames` of sound after those are waited for: the transformer looks both ways, and its
    newest features are its worst. More of it is better lips and a later answer.
    `normalise`: "window" is what the checkpoints' own preprocessor does to a clip; "running" takes
    mean and loudness from the session's speech so far, so that a pause in the window does not make
    what follows louder.
    `gate_dbfs`: frames are exactly zero where it has been quieter than that for `gate_hold_frames`;
    None leaves silence as the transformer hears it, which is how public checkpoints learned it.
    """

    fps: int
    resample: Literal["before", "after"]
    skip_embedding: bool
    window_frames: int
    lookahead_frames: int = 0
    hold_back_frames: int = 0
    normalise: Literal["window", "running"] = "running"
    gate_dbfs: float | None = None
    gate_hold_frames: int = 3
    between_hz: int = 30

    def __post_init__(self) -> None:
        if SAMPLE_RATE % self.fps:
            raise ValueError(f"{self.fps} fps does not divide {SAMPLE_RATE} samples a second")
        if min(self.lookahead_frames, self.hold_back_frames) < 0 or self.gate_hold_frames < 1:
            raise ValueError(f"frames of {self} must not be negative, gate_hold_frames at least 1")
        if self.window_frames <= self.right_frames:
            raise ValueError(
                f"a window of {self.window_frames} frames does not hold a chunk and "
                f"{self.right_frames} frames after it"
            )

    @property
    def samples_per_frame(self) -> int:
        return SAMPLE_RATE // self.fps

    @property
    def right_frames(self) -> int:
        """Frames of sound after a chunk that its features hang on."""
        return self.lookahead_frames + self.hold_back_frames


def multitalk(fps: int = 25, hold_back_frames: int = 0) -> Recipe:
    """InfiniteTalk, FlashTalk, FlashHead: 12 states, two frames beyond the chunk, 8 s at once."""
    return Recipe(
        fps=fps, resample="before", skip_embedding=True, window_frames=8 * fps,
        lookahead_frames=2, hold_back_frames=hold_back_frames,
    )  # fmt: skip


def s2v(fps: int = 16, hold_back_frames: int = 1) -> Recipe:
    """Wan2.2-S2V and what was made of it: all 25 states, none beyond the chunk, 5 s at once."""
    return Recipe(
        fps=fps, resample="after", skip_embedding=False, window_frames=5 * fps,
        hold_back_frames=hold_back_frames,
    )  # fmt: skip


def native(fps: int = 25, hold_back_frames: int = 1, reach_latents: int = 2) -> Recipe:
    """Our own models of that size: silence is zero, and two latents of 4 frames are seen ahead."""
    return Recipe(
        fps=fps, resample="before", skip_embedding=True, window_frames=8 * fps,
        lookahead_frames=4 * reach_latents, hold_back_frames=hold_back_frames, gate_dbfs=-50.0,
    )  # fmt: skip
