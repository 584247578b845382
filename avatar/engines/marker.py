"""The three engines of the marker profile: they hear tones and draw them, without weights."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatar.cast.avatars import character_of
from avatar.cast.characters import DEFAULT_CHARACTER
from avatar.cast.profiles import PROFILES, Profile
from avatar.engines import REHEARSED, Rehearsal, SessionSpec
from avatar.engines.pattern import (
    CELLS,
    EARLIEST_PHASE_MS,
    EPOCHS,
    FRAME_NUMBERS,
    Blocks,
    Mark,
    blocks_of,
    draw,
    mark_of,
)
from avatar.errors import InvalidInput
from avatar.media import (
    LOOKAHEAD_LATENTS,
    SPEECH_RATE,
    AudioChunk,
    AudioEmbedding,
    FrameChunk,
    LatentChunk,
)
from avatar.speech.marker import COUNT, STALL_STAGES, STALL_UNIT_MS, Stall, StallStage, order_of
from avatar.speech.tones import read_tones

MARKER = PROFILES["marker"]
HISTORY = round(0.064 * SPEECH_RATE)
"""Samples before a chunk in which a symbol of its first frame may begin."""

FEATURES = 5
"""Of a frame in the embedding: there is a symbol, which, its phase in ms, stalling stage, units."""

Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Heard:
    """`samples` are the last HISTORY ones; `order` is half an order, whose argument follows."""

    samples: NDArray[np.float32] = field(default_factory=lambda: np.zeros(HISTORY, np.float32))
    order: int | None = None


class MarkerAudioEncoder:
    """Reads the tone of each frame out of the sound itself: its onset too, to a millisecond."""

    def __init__(self, sleep: Sleep = time.sleep, profile: Profile = MARKER) -> None:
        self._sleep, self._clock = sleep, profile.clock
        self._samples = profile.clock.samples_per_chunk(SPEECH_RATE)

    def rehearsal(self) -> Rehearsal[AudioChunk]:
        chunk = AudioChunk(REHEARSED, np.zeros(self._samples, np.float32))
        return Rehearsal(DEFAULT_CHARACTER.id, chunk)

    def init_state(self, request: SessionSpec) -> Heard:
        return Heard()

    def step(self, chunk: AudioChunk, state: Heard) -> tuple[AudioEmbedding, Heard]:
        """Raises InvalidInput as the real encoder does."""
        if chunk.sample_rate != SPEECH_RATE or len(chunk.samples) != self._samples:
            raise InvalidInput(
                f"{len(chunk.samples)} samples at {chunk.sample_rate} Hz given, "
                f"{self._samples} at {SPEECH_RATE} Hz expected"
            )
        sound = np.concatenate([state.samples, chunk.samples])
        clock, frame_ms = self._clock, 1000 / self._clock.fps
        frames = np.zeros((clock.frames_per_chunk, FEATURES), np.float32)
        order = state.order
        for heard in read_tones(sound):
            onset_ms = 1000 * (heard.start_s - HISTORY / SPEECH_RATE)
            frame = math.ceil((onset_ms - frame_ms - EARLIEST_PHASE_MS) / frame_ms)
            if not 0 <= frame < len(frames):
                continue  # the chunk before has shown it, or the next one will
            if order is not None and (stall := order_of(order, heard.symbol)):
                frames[frame, 3:] = 1 + STALL_STAGES.index(stall.stage), stall.units
                if stall.stage == "audio_encoder":
                    _stand_still(stall, self._sleep)
            order = heard.symbol if heard.symbol >= COUNT else None
            frames[frame, :3] = 1, heard.symbol, onset_ms - frame * frame_ms
        tokens = frames.reshape(clock.latents_per_chunk, clock.frames_per_latent, FEATURES)
        unknown = np.zeros((LOOKAHEAD_LATENTS, *tokens.shape[1:]), np.float32)
        embedding = AudioEmbedding(
            chunk.stamp, tokens, unknown, chunk.last, chunk.behaviour, chunk.cues
        )
        return embedding, Heard(sound[-HISTORY:], order)


class MarkerScore:
    """Lays the tone of each frame, and the frame's own number, out as blocks.

    Beside them the behaviour it is told, and its cues, which take turns over the chunk's frames.
    """

    def __init__(self, sleep: Sleep = time.sleep, profile: Profile = MARKER) -> None:
        self._sleep, self._profile = sleep, profile

    def rehearsal(self) -> Rehearsal[AudioEmbedding]:
        clock = self._profile.clock
        tokens = np.zeros((clock.latents_per_chunk, clock.frames_per_latent, FEATURES), np.float32)
        unknown = np.zeros((LOOKAHEAD_LATENTS, *tokens.shape[1:]), np.float32)
        return Rehearsal(DEFAULT_CHARACTER.id, AudioEmbedding(REHEARSED, tokens, unknown))

    def init_state(self, request: SessionSpec) -> None:
        """Raises NotFound for an unknown avatar."""
        character_of(request.avatar, self._profile.avatars)

    def step(self, chunk: AudioEmbedding, state: None) -> tuple[LatentChunk, None]:
        """Raises InvalidInput where the embedding is not the marker encoder's."""
        clock = self._profile.clock
        expected = (clock.latents_per_chunk, clock.frames_per_latent, FEATURES)
        if chunk.tokens.shape != expected:
            raise InvalidInput(f"embedding of {chunk.tokens.shape} given, {expected} expected")
        marks = [
            _mark(features, chunk, index, clock.frames_per_chunk)
            for index, features in enumerate(chunk.tokens.reshape(-1, FEATURES))
        ]
        _obey("score_worker", marks, self._sleep)
        blocks = np.stack([blocks_of(mark) for mark in marks]).astype(np.float32)
        return LatentChunk(
            chunk.stamp, blocks.reshape(*expected[:2], CELLS, CELLS), chunk.last
        ), None


class MarkerVaeDecoder:
    """Draws the blocks."""

    def __init__(self, sleep: Sleep = time.sleep, profile: Profile = MARKER) -> None:
        self._sleep, self._profile = sleep, profile

    def rehearsal(self) -> Rehearsal[LatentChunk]:
        clock = self._profile.clock
        blocks = np.zeros((clock.latents_per_chunk, clock.frames_per_latent, CELLS, CELLS))
        return Rehearsal(DEFAULT_CHARACTER.id, LatentChunk(REHEARSED, blocks.astype(np.float32)))

    def init_state(self, request: SessionSpec) -> None:
        """Raises NotFound for an unknown avatar."""
        character_of(request.avatar, self._profile.avatars)

    def step(self, chunk: LatentChunk, state: None) -> tuple[FrameChunk, None]:
        """Raises InvalidInput where the latents are not the marker painter's."""
        if chunk.latents.shape[2:] != (CELLS, CELLS):
            raise InvalidInput(
                f"latents of {chunk.latents.shape} given, (F, frames, {CELLS}, {CELLS}) expected"
            )
        blocks: list[Blocks] = [each > 0.5 for each in chunk.latents.reshape(-1, CELLS, CELLS)]
        _obey("vae_decoder", [mark_of(each) for each in blocks], self._sleep)
        height, width = self._profile.height, self._profile.width
        frames = np.stack([draw(each, height, width) for each in blocks])
        return FrameChunk(chunk.stamp, frames, chunk.last), None


def _mark(features: NDArray[Any], chunk: AudioEmbedding, index: int, frames_per_chunk: int) -> Mark:
    """Of the chunk's frame `index`."""
    has_symbol, symbol, phase_ms, stage, units = features.tolist()
    return Mark(
        (chunk.stamp.seq * frames_per_chunk + index) % FRAME_NUMBERS,
        chunk.stamp.epoch % EPOCHS,
        int(symbol) if has_symbol else None,
        phase_ms if has_symbol else 0.0,
        Stall(STALL_STAGES[int(stage) - 1], int(units)) if stage else None,
        chunk.behaviour,
        chunk.cues[index % len(chunk.cues)] if chunk.cues else None,
    )


def _obey(stage: StallStage, marks: Sequence[Mark | None], sleep: Sleep) -> None:
    for mark in marks:
        if mark is not None and mark.stall is not None and mark.stall.stage == stage:
            _stand_still(mark.stall, sleep)


def _stand_still(stall: Stall, sleep: Sleep) -> None:
    """As a stage that was too slow once."""
    sleep(stall.units * STALL_UNIT_MS / 1000)
