"""Lays speech onto a call's chunks as it comes; where there is none, chunks are silent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar.audio.resample import StreamResampler, resample
from avatar.media import LOOKAHEAD_LATENTS, SPEECH_RATE
from avatar.timebase import ChunkClock
from services.gateway.media import PLAYED_RATE


@dataclass(frozen=True)
class LaidChunk:
    """One chunk's sound, composed at the last moment.

    Args:
        speech: (S,) float32 at 16 kHz, exactly one chunk: what moves the lips.
        lookahead: (0..) float32 at 16 kHz: what follows as far as it is known.
        sound: (P,) int16 at 48 kHz, exactly one chunk: what is heard.
        position: Where in the reply the chunk's first sample lies, in samples at 48 kHz.
        num_spoken: How many of the chunk's samples at 48 kHz are the reply's; the rest is silence.
        starts_reply: Whether the reply's first sample is in here.
        ends_reply: Whether its last sample is.
    """

    speech: NDArray[np.float32]
    lookahead: NDArray[np.float32]
    sound: NDArray[np.int16]
    position: int
    num_spoken: int
    starts_reply: bool = False
    ends_reply: bool = False


class LiveTimeline:
    """One reply at a time; counts its samples at 48 kHz, so that every word has its place."""

    def __init__(self, clock: ChunkClock) -> None:
        self._chunk = clock.samples_per_chunk(PLAYED_RATE)
        self._ahead = LOOKAHEAD_LATENTS * clock.samples_per_latent(PLAYED_RATE)
        self._before = np.zeros(_CONTEXT, np.float32)
        self._resampler: tuple[int, StreamResampler] | None = None
        self.begin()

    def begin(self) -> None:
        """A new reply; what is left of the one before is dropped."""
        self._pending = np.zeros(0, np.float32)
        self._laid = 0
        self._is_complete = False
        self._has_ended = False
        self._resampler = None

    @property
    def num_pushed(self) -> int:
        """Samples of the reply so far, at 48 kHz."""
        return self._laid + self._pending.size

    @property
    def num_waiting(self) -> int:
        """Samples that no chunk has yet, at 48 kHz."""
        return self._pending.size

    @property
    def is_waiting(self) -> bool:
        """Whether there is speech that no chunk has yet."""
        return self._pending.size > 0

    @property
    def is_ample(self) -> bool:
        """Whether the next chunk and its look-ahead are known; more would change neither."""
        return self._is_complete or self._pending.size >= self._chunk + self._ahead

    @property
    def has_begun(self) -> bool:
        """Whether a chunk has the reply's first sample."""
        return self._laid > 0

    @property
    def has_ended(self) -> bool:
        """Whether a chunk has its last one."""
        return self._has_ended

    def push(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Add (S,) float32 right after what is there already."""
        if self._resampler is None or self._resampler[0] != sample_rate:
            self._flush()
            self._resampler = sample_rate, StreamResampler(sample_rate, PLAYED_RATE)
        self._append(self._resampler[1].push(samples))

    def finish(self) -> None:
        """The reply is complete."""
        self._flush()
        self._is_complete = True

    def next_chunk(self) -> LaidChunk:
        """One more chunk: speech as far as there is any, then silence."""
        if self._pending.size < self._chunk:
            self._flush()  # nothing will come in time
        num_spoken = min(self._pending.size, self._chunk)
        position = self._laid
        window = np.zeros(self._chunk + self._ahead + _CONTEXT, np.float32)
        known = self._pending[: window.size]
        window[: known.size] = known
        speech = resample(np.concatenate([self._before, window]), PLAYED_RATE, SPEECH_RATE)
        skip, step = _CONTEXT * SPEECH_RATE // PLAYED_RATE, PLAYED_RATE // SPEECH_RATE
        heard = speech[skip : skip + self._chunk // step]
        ahead = speech[skip + self._chunk // step :][: self._ahead // step]
        num_ahead = min(max(0, known.size - self._chunk), self._ahead)
        sound = window[: self._chunk]
        self._before = sound[-_CONTEXT:]
        self._pending = self._pending[num_spoken:]
        self._laid += num_spoken
        ends = self._is_complete and not self._pending.size and not self._has_ended
        self._has_ended = self._has_ended or ends
        return LaidChunk(
            speech=heard,
            lookahead=ahead[: -(-num_ahead // step)],
            sound=(np.clip(sound, -1.0, 1.0) * 32767).astype(np.int16),
            position=position,
            num_spoken=num_spoken,
            starts_reply=position == 0 and num_spoken > 0,
            ends_reply=ends,
        )

    def _flush(self) -> None:
        if self._resampler is not None:
            self._append(self._resampler[1].flush())

    def _append(self, sound: NDArray[np.float32]) -> None:
        self._pending = np.concatenate([self._pending, sound])


_CONTEXT = 60
"""Samples at 48 kHz on both sides that the filter down to 16 kHz looks at, doubled to be sure."""
