"""What differs between checkpoints of one network, as data."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Policy:
    """How chunks are denoised and what they see.

    `sigmas` are the noise levels of the forwards of a chunk, first 1.0; the last forward's x0 is
    the chunk. "renoise" goes to the next level with fresh noise, "ode" along the predicted line.
    Positions are fixed slots: keys are cached un-roped and rotated when read, so no position ever
    grows (TalkingMachines, figure of the training window: sink 0-2, previous 15-17, current 18-20).
    No places for the sink or the previous chunk means that it is not seen.
    """

    sigmas: tuple[float, ...]
    update: Literal["renoise", "ode"] = "renoise"
    chunk_latents: int = 3
    sink_positions: tuple[int, ...] = (0, 1, 2)
    previous_positions: tuple[int, ...] = (15, 16, 17)
    current_positions: tuple[int, ...] = (18, 19, 20)
    audio_scope: Literal["face", "whole"] = "face"
    """Where sound may act: within the portrait's face mask, or on the whole picture (music)."""
    audio_gain: float = 1.0
    """What speech adds is multiplied by this. A model that learned by squared errors draws the mean
    of what it cannot tell apart: mouths that open less than true ones."""
    head_gain: float = 1.0
    """What the head is asked to turn and shift is multiplied by this, for the same reason: heads
    that turn less far than they were asked to."""
    cache: Literal["per_step", "clean_pass"] = "per_step"
    """What is read of the previous chunk: by every step what the same step of it wrote, hence one
    cache a step and no further forward; or by all steps what one more forward on the finished,
    clean chunk wrote (CausVid, arXiv:2412.07772)."""
    noise: Literal["fresh", "still"] = "fresh"
    """Drawn anew for every latent, or one for all latents of a session: what a model makes of its
    noise then stays where it is instead of jumping from latent to latent."""
    carry_last_latent: bool = False
    """Feed the last latent of the previous chunk as further input channels (costs no forward)."""

    @property
    def light(self) -> "Policy":
        """The same with one step: softer mouths, in about half the time."""
        return replace(self, sigmas=self.sigmas[:1])

    def __post_init__(self) -> None:
        levels = self.sigmas
        falling = all(a > b for a, b in zip(levels, levels[1:], strict=False))
        if not levels or levels[0] != 1.0 or levels[-1] <= 0.0 or not falling:
            raise ValueError(f"sigmas {levels} must fall from 1.0 and stay above 0")
        for name in ("previous_positions", "current_positions"):
            places = getattr(self, name)
            if len(places) != self.chunk_latents and (places or name == "current_positions"):
                raise ValueError(f"{name} needs {self.chunk_latents} places, one for each latent")
        if self.cache == "clean_pass" and not self.previous_positions:
            raise ValueError("a clean pass writes what nobody reads: previous_positions is empty")


NATIVE_2_STEP = Policy(sigmas=(1.0, 0.5), noise="still")
"""The paper's: two forwards a chunk, per-step cache, {sink, previous, current}; noise is ours."""
