"""What differs between checkpoints of one network, as data."""

from dataclasses import dataclass, replace
from typing import Literal

from avatar.sampling.schedule import shifted_sigmas


@dataclass(frozen=True)
class Absolute:
    """Places in time that grow with the stream, as of models trained on whole videos.

    A chunk that begins at place p sees the `history_latents` latents before it and the sink, whose
    first place is `Policy.sink_positions`.
    """

    first: int
    """Place of the first latent of chunk 0."""
    history_latents: int
    sink_moves: Literal["never", "one_a_chunk", "follows"] = "never"
    """one_a_chunk: by one place with each chunk that begins after `moves_after`, so it falls behind
    a little (RealVideo). follows: it stays at most `sink_places` - r ahead of the chunk, r drawn
    anew for every forward from `drawn` (LiveAvatar)."""
    moves_after: int = 20
    drawn: tuple[int, int] = (4, 30)


@dataclass(frozen=True)
class Places:
    """Where everything that a forward sees is in time; `history` counts latents, oldest first."""

    sink: tuple[int, ...]
    history: tuple[int, ...]
    current: tuple[int, ...]


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
    absolute: Absolute | None = None
    """Instead of slots; then no previous and current positions are given."""
    sink_motion: bool = False
    """Wan-S2V: the sink holds the portrait's packed past frames beside its latent."""
    still_pose: bool = False
    """Wan-S2V: a pose of zeros is given, which adds its encoder's bias, or none at all."""
    audio_past: Literal["heard", "restart"] = "heard"
    """Wan-S2V: before a chunk's speech stands what was heard, or its first frame repeated."""
    light_sigmas: tuple[float, ...] = ()
    """Of a chunk that is made under overload, fewer than `sigmas`: softer, in less time. Empty
    where weights are for no fewer."""

    @property
    def light(self) -> "Policy":
        """The same with fewer forwards, or this one where it has no lighter one."""
        if not self.light_sigmas:
            return self
        return replace(self, sigmas=self.light_sigmas, light_sigmas=())

    def __post_init__(self) -> None:
        _check_levels("sigmas", self.sigmas)
        if self.light_sigmas:
            _check_levels("light_sigmas", self.light_sigmas)
            if len(self.light_sigmas) >= len(self.sigmas):
                raise ValueError(
                    f"light_sigmas {self.light_sigmas} are no fewer than sigmas {self.sigmas}"
                )
        if self.absolute is not None:
            self._check_absolute(self.absolute)
            return
        for name in ("previous_positions", "current_positions"):
            places = getattr(self, name)
            if len(places) != self.chunk_latents and (places or name == "current_positions"):
                raise ValueError(f"{name} needs {self.chunk_latents} places, one for each latent")
        if self.cache == "clean_pass" and not self.previous_positions:
            raise ValueError("a clean pass writes what nobody reads: previous_positions is empty")

    def _check_absolute(self, absolute: Absolute) -> None:
        if self.previous_positions or self.current_positions:
            raise ValueError("absolute places and slots: previous and current positions are empty")
        if absolute.history_latents % self.chunk_latents:
            raise ValueError(
                f"history_latents is {absolute.history_latents}, a multiple of the chunk's "
                f"{self.chunk_latents} expected"
            )
        if self.cache == "clean_pass" and not absolute.history_latents:
            raise ValueError("a clean pass writes what nobody reads: history_latents is 0")
        if absolute.sink_moves != "never" and len(self.sink_positions) != 1:
            raise ValueError("a sink that moves has one place")

    @property
    def history_latents(self) -> int:
        """Latents before a chunk, beyond the sink, that it sees once there are as many."""
        if self.absolute is not None:
            return self.absolute.history_latents
        return len(self.previous_positions)

    def places(self, seq: int, history: int, draw: int = 0) -> Places:
        """Of chunk `seq` when `history` latents before it are cached; `draw` is a random number."""
        if self.absolute is None:
            previous = self.previous_positions if history else ()
            return Places(self.sink_positions, previous, self.current_positions)
        start = self.absolute.first + seq * self.chunk_latents
        sink = self.sink_positions
        if self.absolute.sink_moves == "one_a_chunk":
            sink = (sink[0] + self._moves(self.absolute, seq),)
        elif self.absolute.sink_moves == "follows":
            low, high = self.absolute.drawn
            ahead = sink[0] - (low + draw % (high - low + 1))
            sink = (sink[0] + max(0, start - ahead),)
        current = tuple(range(start, start + self.chunk_latents))
        return Places(sink, tuple(range(start - history, start)), current)

    def _moves(self, absolute: Absolute, seq: int) -> int:
        """Chunks up to `seq` that begin after `moves_after`."""
        still = (absolute.moves_after - absolute.first) // self.chunk_latents + 1
        return max(0, seq + 1 - max(0, still))


def _check_levels(name: str, levels: tuple[float, ...]) -> None:
    falling = all(a > b for a, b in zip(levels, levels[1:], strict=False))
    if not levels or levels[0] != 1.0 or levels[-1] <= 0.0 or not falling:
        raise ValueError(f"{name} {levels} must fall from 1.0 and stay above 0")


NATIVE_2_STEP = Policy(sigmas=(1.0, 0.5), noise="still", light_sigmas=(1.0,))
"""The paper's: two forwards a chunk, per-step cache, {sink, previous, current}; noise is ours."""

REALVIDEO_2_STEP = Policy(
    sigmas=shifted_sigmas(2, 3.0)[:-1],
    chunk_latents=2,
    sink_positions=(30,),
    previous_positions=(),
    current_positions=(),
    audio_scope="whole",
    cache="clean_pass",
    absolute=Absolute(first=1, history_latents=2, sink_moves="one_a_chunk"),
)
"""zai-org/RealVideo: {reference, previous chunk, current}, timesteps 1000 and 750, three forwards
with the clean pass; chunks of 2 latents, 8 frames at 16 a second. It knows no pose."""

REALVIDEO_4_STEP = replace(
    REALVIDEO_2_STEP, sigmas=shifted_sigmas(4, 3.0)[:-1], light_sigmas=REALVIDEO_2_STEP.sigmas
)
"""The same weights at timesteps 1000, 900, 750 and 500, five forwards; light ones as above."""

LIVEAVATAR_4_STEP = Policy(
    # the schedule's end points were shifted once already: its authors trained it so
    sigmas=(1.0, 0.85769, 0.60215, 0.00893),
    update="ode",
    chunk_latents=3,
    sink_positions=(30,),
    previous_positions=(),
    current_positions=(),
    audio_scope="whole",
    absolute=Absolute(first=0, history_latents=9, sink_moves="follows"),
    sink_motion=True,
    still_pose=True,
    audio_past="restart",
)
"""Quark-Vision/Live-Avatar: a cache for each of four steps along the predicted line, three chunks
of history at the same noise level, 12 frames at 25 a second."""

POLICIES = {
    "native": NATIVE_2_STEP,
    "realvideo-2step": REALVIDEO_2_STEP,
    "realvideo-4step": REALVIDEO_4_STEP,
    "liveavatar-4step": LIVEAVATAR_4_STEP,
}
"""By name, as a converted checkpoint's preset lists them."""
