"""Lays the speech of a reply onto equal chunks, so that sound and lips share one media time."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avatar.audio.loudness import has_sound
from avatar.audio.resample import resample
from avatar.audio.video import SOUND_RATE
from avatar.media import (
    LOOKAHEAD_LATENTS,
    SPEECH_RATE,
    AudioChunk,
    CueName,
    SessionId,
    Stamp,
    TimedCue,
)
from avatar.timebase import ChunkClock, samples_of_ticks

CLOSING_S = 0.32
"""Silence after the last word, in which the mouth closes."""


class Timeline:
    """The reply's speech as chunks, and as one sound track of exactly the video's length.

    Not live: speech starts at once, and where the reply is slower than the video nothing is put
    in between. A chunk is given out once its look-ahead is known too, so that the same reply makes
    the same chunks however fast it came.
    """

    def __init__(self, clock: ChunkClock, session: SessionId, fence: int, epoch: int = 0) -> None:
        self._clock = clock
        self._session = session
        self._fence = fence
        self._epoch = epoch
        self._speech = np.zeros(0, np.float32)  # at SPEECH_RATE, from the next chunk's start on
        self._sound = np.zeros(0, np.float32)  # at SOUND_RATE, from the first sound not yet taken
        self._num_sound = 0
        self._cues: list[tuple[float, CueName]] = []  # and when they are due, in seconds
        self._next_seq = 0
        self._num_chunks: int | None = None  # known once the reply is complete

    @property
    def is_given_out(self) -> bool:
        """Whether the reply is complete and all its chunks were given out."""
        return self._next_seq == self._num_chunks

    @property
    def chunks_known(self) -> int:
        """How many chunks the speech so far needs; grows while the reply is being spoken."""
        if self._num_chunks is not None:
            return self._num_chunks
        return self._clock.chunks_covering(self._ticks_of_sound())

    @property
    def sound_s(self) -> float:
        """Length of the speech so far, in seconds; of the sound track once finished."""
        return self._num_sound / SOUND_RATE

    def push(self, samples: NDArray[np.float32], sample_rate: int = SOUND_RATE) -> None:
        """Add a sentence, (S,) float32, right after what is there already."""
        if self._num_chunks is not None:
            raise ValueError("push() after finish(): the reply was complete")
        self._append(resample(samples, sample_rate, SOUND_RATE))

    def add_cues(self, cues: Sequence[TimedCue]) -> None:
        """What the face shows with the sentence that is pushed next."""
        self._cues += ((self.sound_s + cue.start_s, cue.name) for cue in cues)

    def finish(self) -> None:
        """The reply is complete: let the mouth close, and fill the last chunk with silence."""
        if self._num_chunks is not None:
            return
        if self._num_sound:
            self._append(np.zeros(round(CLOSING_S * SOUND_RATE), np.float32))
        num_chunks = self.chunks_known
        whole = samples_of_ticks(self._clock.pts(num_chunks), SOUND_RATE)
        self._append(np.zeros(whole - self._num_sound, np.float32))
        self._num_chunks = num_chunks

    def next_chunk(self) -> AudioChunk | None:
        """The next chunk, or None when more speech is needed or all are given out."""
        if self._next_seq == self._num_chunks:
            return None
        whole = self._clock.samples_per_chunk(SPEECH_RATE)
        ahead = LOOKAHEAD_LATENTS * self._clock.samples_per_latent(SPEECH_RATE)
        if self._num_chunks is None and self._speech.size < whole + ahead:
            return None
        seq = self._next_seq
        samples, end_s = self._speech[:whole], (seq + 1) * self._clock.chunk_s
        chunk = AudioChunk(
            stamp=Stamp(self._session, self._epoch, seq, self._fence, self._clock.pts(seq)),
            samples=samples,
            lookahead=self._speech[whole : whole + ahead],
            last=seq + 1 == self._num_chunks,
            behaviour="speaking" if has_sound(samples) else "idle",
            cues=tuple(dict.fromkeys(name for at_s, name in self._cues if at_s < end_s)),
        )
        self._cues = [each for each in self._cues if each[0] >= end_s]
        self._speech = self._speech[whole:]
        self._next_seq += 1
        return chunk

    def take_sound(self) -> NDArray[np.float32]:
        """The next chunk's sound at SOUND_RATE, in the order of the chunks given out."""
        whole = self._clock.samples_per_chunk(SOUND_RATE)
        sound, self._sound = self._sound[:whole], self._sound[whole:]
        return sound

    def _append(self, sound: NDArray[np.float32]) -> None:
        # a multiple of the step at which both rates meet, so that sound and speech never drift
        step = SOUND_RATE // math.gcd(SOUND_RATE, SPEECH_RATE)
        sound = np.pad(sound, (0, -sound.size % step))
        self._sound = np.concatenate([self._sound, sound])
        self._num_sound += sound.size
        self._speech = np.concatenate([self._speech, resample(sound, SOUND_RATE, SPEECH_RATE)])

    def _ticks_of_sound(self) -> int:
        return self._num_sound * (48_000 // SOUND_RATE)
