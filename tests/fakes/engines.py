"""Small numpy engines of the three compute stages: stateful, deterministic, quick."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from avatar.engines import REHEARSED, Rehearsal, SessionSpec
from avatar.errors import NotFound
from avatar.media import (
    SPEECH_RATE,
    AudioChunk,
    AudioEmbedding,
    Behaviour,
    CueName,
    FrameChunk,
    LatentChunk,
)
from avatar.timebase import ChunkClock
from avatar.transport import OpenRequest

CLOCK = ChunkClock()
SIDE = 32


@dataclass(frozen=True)
class Loudness:
    """What each engine carries from chunk to chunk: a fading memory of what it has seen."""

    level: float
    num_steps: int = 0


class LoudnessEncoder:
    """The embedding of a latent is its loudness, mixed with a fading memory of what was before."""

    def init_state(self, request: OpenRequest, /) -> Loudness:
        if request.avatar == "nobody":
            raise NotFound("no avatar is called 'nobody'")
        return Loudness(0.0)

    def step(self, chunk: AudioChunk, state: Loudness, /) -> tuple[AudioEmbedding, Loudness]:
        size = CLOCK.samples_per_latent(SPEECH_RATE)
        levels = np.sqrt((chunk.samples.reshape(-1, size) ** 2).mean(1))
        tokens = (levels + 0.5 * state.level).astype(np.float32)[:, None, None]
        ahead = np.zeros((2, 1, 1), np.float32)
        output = AudioEmbedding(chunk.stamp, tokens, ahead, chunk.last, chunk.behaviour, chunk.cues)
        return output, Loudness(float(levels[-1]), state.num_steps + 1)


class LoudnessPainter:
    """The latents of a chunk are its embedding, and a trace of the chunk before."""

    def init_state(self, request: OpenRequest, /) -> Loudness:
        return Loudness(0.0)

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        levels = chunk.tokens[:, 0, 0] + 0.25 * state.level
        latents = np.broadcast_to(levels[:, None, None, None], (3, 1, SIDE, SIDE)).copy()
        output = LatentChunk(chunk.stamp, latents, last=chunk.last)
        return output, Loudness(float(levels[-1]), state.num_steps + 1)


@dataclass
class CountedClock:
    """Goes on only while somebody computes."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class CountedPainter(LoudnessPainter):
    """Its chunks cost what it is told they do, one after the other, by its own clock."""

    def __init__(self, *costs_s: float) -> None:
        """After the last of `costs_s` they cost that."""
        super().__init__()
        self.clock = CountedClock()
        self.num_made = 0
        self._costs_s = costs_s
        self.avatars: tuple[str, ...] = ()

    def rehearsal(self) -> Rehearsal[AudioEmbedding]:
        silence = np.zeros((3, 1, 1), np.float32)
        return Rehearsal("mira", AudioEmbedding(REHEARSED, silence, silence[:2]))

    def init_state(self, request: SessionSpec, /) -> Loudness:
        self.avatars = (*self.avatars, request.avatar)
        return Loudness(0.0)

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        self.clock.now += self._costs_s[min(self.num_made, len(self._costs_s) - 1)]
        self.num_made += 1
        return super().step(chunk, state)


class BatchedPainter(CountedPainter):
    """A batch costs what one chunk does, and a tenth for each further one."""

    def step_many(
        self, chunks: Sequence[AudioEmbedding], states: Sequence[Loudness], /
    ) -> list[tuple[LatentChunk, Loudness]]:
        before = self.clock.now
        made = [self.step(*each) for each in zip(chunks, states, strict=True)]
        one_s = (self.clock.now - before) / len(made)
        self.clock.now = before + one_s * (1 + 0.1 * (len(made) - 1))
        return made


class LoudnessDecoder:
    """Grey frames, as bright as their latent."""

    def init_state(self, request: OpenRequest, /) -> Loudness:
        return Loudness(0.0)

    def step(self, chunk: LatentChunk, state: Loudness, /) -> tuple[FrameChunk, Loudness]:
        grey = np.clip(chunk.latents[:, 0] * 255, 0, 255).astype(np.uint8)
        frames = np.repeat(grey, CLOCK.frames_per_latent, axis=0)[..., None].repeat(3, axis=3)
        return FrameChunk(chunk.stamp, frames, last=chunk.last), replace(
            state, num_steps=state.num_steps + 1
        )


class SweepingDecoder(LoudnessDecoder):
    """With a bar that moves on in each frame."""

    def step(self, chunk: LatentChunk, state: Loudness, /) -> tuple[FrameChunk, Loudness]:
        made, advanced = super().step(chunk, state)
        for n, frame in enumerate(made.frames):
            at = (state.num_steps * len(made.frames) + n) * 2 % SIDE
            frame[:, at : at + 8] = 255 - frame[:, at : at + 8]
        return made, advanced


class WatchedPainter(LoudnessPainter):
    """Keeps what it is told of the face."""

    def __init__(self) -> None:
        self.told: list[tuple[int, Behaviour, tuple[CueName, ...]]] = []

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        self.told.append((chunk.stamp.seq, chunk.behaviour, chunk.cues))
        return super().step(chunk, state)


class GatedPainter(LoudnessPainter):
    """Paints only while its gate is open; tells when somebody waits at it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.reached = threading.Event()

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        self.reached.set()
        if not self.gate.wait(timeout=30):
            raise TimeoutError("nobody opened the gate")
        return super().step(chunk, state)


class FailingPainter(LoudnessPainter):
    """Fails at its third chunk."""

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        if state.num_steps == 2:
            raise FloatingPointError("not a number")
        return super().step(chunk, state)


@dataclass
class Meeting:
    """A painter and a decoder that can only go on if they compute at the same time."""

    both: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=20))

    def painter(self) -> "MeetingPainter":
        return MeetingPainter(self.both)

    def decoder(self) -> "MeetingDecoder":
        return MeetingDecoder(self.both)


class MeetingPainter(LoudnessPainter):
    def __init__(self, both: threading.Barrier) -> None:
        self._both = both

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        if chunk.stamp.seq > 0:  # while the decoder is at the chunk before
            self._both.wait()
        return super().step(chunk, state)


class MeetingDecoder(LoudnessDecoder):
    def __init__(self, both: threading.Barrier) -> None:
        self._both = both

    def step(self, chunk: LatentChunk, state: Loudness, /) -> tuple[FrameChunk, Loudness]:
        if not chunk.last:  # while the painter is at the chunk after
            self._both.wait()
        return super().step(chunk, state)
