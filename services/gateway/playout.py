"""What is heard and seen of a call, 20 ms at a time; knows no clock, it is asked for each block."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from avatar.timebase import ChunkClock
from services.gateway.media import BLOCK_SAMPLES, PLAYED_RATE

CUT_FADE_FRAMES = 4
"""Over how many frames the picture goes from one piece of video to another."""
REST_FADE_FRAMES = 6
"""Over how many frames an interrupted face comes to rest, if no new chunk is there before."""
SOUND_FADE_SAMPLES = PLAYED_RATE // 200
"""5 ms, so that an interruption does not click."""


@dataclass(frozen=True)
class PlayChunk:
    """A chunk as it came out of the graph, with its sound.

    `frames` is (N, H, W, 3) uint8, `sound` (P,) int16 at 48 kHz, both of exactly one chunk. Without
    frames the face comes to rest and stays so while the sound is played.
    `position`, `num_spoken`, `ends_reply`: as in `LaidChunk`. `cuts_in`: it is played at once, in
    place of silent chunks that are not yet over. `is_other_face`: another avatar begins with it.
    """

    epoch: int
    frames: NDArray[np.uint8] | None
    sound: NDArray[np.int16]
    position: int = 0
    num_spoken: int = 0
    ends_reply: bool = False
    cuts_in: bool = False
    is_other_face: bool = False


@dataclass(frozen=True)
class Played:
    """20 ms: `sound` is (960,) int16; `pictures` are (offset in samples, pixels).

    `position`: samples of the reply that were played by the block's end. `speaks`: some of them are
    in this block. `ended_reply`: the last one is. `stalled`: a chunk was late. `is_still`: some of
    it is sound without pictures of its own.
    """

    sound: NDArray[np.int16]
    pictures: tuple[tuple[int, NDArray[np.uint8]], ...]
    position: int
    speaks: bool = False
    ended_reply: bool = False
    stalled: bool = False
    is_still: bool = False


@dataclass
class _Fade:
    """From a still picture to what is shown now; `step` of `steps` are done."""

    start: NDArray[np.uint8]
    steps: int
    step: int = 0

    def over(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.step += 1
        weight = self.step / (self.steps + 1)
        mixed = self.start * (1 - weight) + pixels * weight
        return mixed.round().astype(np.uint8)

    @property
    def is_done(self) -> bool:
        return self.step >= self.steps


@dataclass
class _Current:
    chunk: PlayChunk
    sample: int = 0  # already played


@dataclass
class _Out:
    sound: NDArray[np.int16]
    pictures: list[tuple[int, NDArray[np.uint8]]] = field(default_factory=list)
    speaks: bool = False
    ended: bool = False
    stalled: bool = False
    is_still: bool = False


class Playout:
    """Chunks in, blocks out. Sound and picture of a chunk are played together or not at all.

    When a chunk is late both wait: the sound is silent, the picture stands (and is given again at
    the frame rate, so that a decoder does not take it for a lost stream), and the media time stands
    with them. An interruption is silent from the next block on, and the face fades to rest.
    """

    def __init__(self, clock: ChunkClock) -> None:
        self.position = 0
        self._clock = clock
        self._chunk_samples = clock.samples_per_chunk(PLAYED_RATE)
        self._frame_samples = PLAYED_RATE // clock.fps
        self._queue: deque[PlayChunk] = deque()
        self._current: _Current | None = None
        self._epoch = 0
        self._shown: NDArray[np.uint8] | None = None
        self._rest: NDArray[np.uint8] | None = None
        self._quiet_frames = 0
        self._fade: _Fade | None = None
        self._to_rest: _Fade | None = None
        self._is_interrupted = False  # and nothing has been played since
        self._since_picture = self._frame_samples  # samples since a picture began to be shown
        self._tail: NDArray[np.int16] = np.zeros(0, np.int16)

    @property
    def buffered(self) -> int:
        """Samples until the last chunk that is here will be over."""
        rest = self._chunk_samples - self._current.sample if self._current else 0
        return rest + self._chunk_samples * len(self._queue)

    @property
    def is_standing(self) -> bool:
        """Whether a chunk is being waited for, other than after an interruption."""
        return self._current is None and self._shown is not None and not self._is_interrupted

    @property
    def is_silent(self) -> bool:
        """Whether nothing of a reply is left to be played."""
        chunks: Sequence[PlayChunk] = [*self._queue]
        if self._current and self._current.sample < self._current.chunk.num_spoken:
            return False
        return not any(chunk.num_spoken for chunk in chunks)

    def push(self, chunk: PlayChunk) -> None:
        """Add the next chunk; one of an older epoch is dropped."""
        if chunk.epoch < self._epoch:
            return
        if chunk.cuts_in and self.is_silent:
            if any(each.is_other_face for each in self._queue):
                chunk = replace(chunk, is_other_face=True)
            self._queue.clear()
            if self._current is not None:
                self._current = None
                self._begin_fade()
        self._queue.append(chunk)

    def begin_reply(self) -> None:
        """The next speech is that of a new reply."""
        self.position = 0

    def interrupt(self, epoch: int) -> None:
        """Play nothing more of chunks before `epoch`."""
        self._epoch = epoch
        if self._current is not None:
            rest = self._current.chunk.sound[self._current.sample :][:SOUND_FADE_SAMPLES]
            spoken = max(0, self._current.chunk.num_spoken - self._current.sample)
            fade = np.linspace(1, 0, rest.size, endpoint=False) if spoken else np.zeros(rest.size)
            self._tail = (rest * fade).astype(np.int16)
        self._queue.clear()
        self._current = None
        self._is_interrupted = True
        self._come_to_rest()

    def advance(self) -> Played:
        """The next 20 ms."""
        out = _Out(np.zeros(BLOCK_SAMPLES, np.int16))
        done = 0
        while done < BLOCK_SAMPLES:
            if self._current is None and self._queue:
                self._start(self._queue.popleft())
            if self._current is None:
                done += self._stand(out, done)
            else:
                done += self._play(self._current, out, done)
        tail, self._tail = self._tail[:BLOCK_SAMPLES], self._tail[BLOCK_SAMPLES:]
        out.sound[: tail.size] += tail  # nothing else sounds there
        pictures = tuple(out.pictures)
        return Played(
            out.sound, pictures, self.position, out.speaks, out.ended, out.stalled, out.is_still
        )

    def _start(self, chunk: PlayChunk) -> None:
        self._current = _Current(chunk)
        self._is_interrupted = False
        if chunk.frames is None:
            if self._to_rest is None:
                self._come_to_rest()
            return
        if chunk.is_other_face:
            self._rest = None
            self._begin_fade()
        if self._to_rest is not None:  # the new epoch's video is here: go there at once
            self._to_rest = None
            self._begin_fade()

    def _begin_fade(self) -> None:
        if self._shown is not None:
            self._fade = _Fade(self._shown, CUT_FADE_FRAMES)

    def _come_to_rest(self) -> None:
        if self._shown is not None:
            self._to_rest = _Fade(self._shown, REST_FADE_FRAMES)

    def _play(self, current: _Current, out: _Out, done: int) -> int:
        chunk, start = current.chunk, current.sample
        count = min(BLOCK_SAMPLES - done, self._chunk_samples - start)
        out.sound[done : done + count] = chunk.sound[start : start + count]
        if chunk.frames is None:
            out.is_still = True
            self._hold(out, done, count)
        else:
            self._show_frames(current, chunk.frames, out, done, count)
        current.sample += count
        spoken = min(current.sample, chunk.num_spoken)
        if spoken > start:
            self.position = chunk.position + spoken
            out.speaks = True
        if chunk.ends_reply and start <= chunk.num_spoken <= current.sample:
            out.ended = out.ended or start < chunk.num_spoken or start == 0
        if current.sample == self._chunk_samples:
            self._current = None
        return count

    def _show_frames(
        self, current: _Current, frames: NDArray[np.uint8], out: _Out, done: int, count: int
    ) -> None:
        start = current.sample
        first = -(-start // self._frame_samples)
        for index in range(first, -(-(start + count) // self._frame_samples)):
            offset = done + index * self._frame_samples - start
            self._show(out, offset, frames[index])
            self._note_rest(current.chunk, frames[index])
        self._since_picture = (start + count) - self._frame_samples * (
            (start + count - 1) // self._frame_samples
        )

    def _stand(self, out: _Out, done: int) -> int:
        """Nothing is there to be played: silence."""
        count = BLOCK_SAMPLES - done
        out.stalled = self.is_standing
        self._hold(out, done, count)
        return count

    def _hold(self, out: _Out, done: int, count: int) -> None:
        """The same picture again, or the next on the way to rest, when it is time."""
        wait = self._frame_samples - self._since_picture
        if wait < count and self._shown is not None:
            still = self._shown
            if self._to_rest is not None and self._rest is not None:
                still = self._rest if self._to_rest.is_done else self._to_rest.over(self._rest)
            self._show(out, done + max(0, wait), still)
            self._since_picture = count - max(0, wait)
        else:
            self._since_picture = min(self._since_picture + count, self._frame_samples)

    def _show(self, out: _Out, offset: int, pixels: NDArray[np.uint8]) -> None:
        if self._fade is not None:
            pixels = self._fade.over(pixels)
            if self._fade.is_done:
                self._fade = None
        self._shown = pixels
        out.pictures.append((offset, pixels))

    def _note_rest(self, chunk: PlayChunk, pixels: NDArray[np.uint8]) -> None:
        """Keep a picture of the face at rest: after half a second without speech."""
        self._quiet_frames = 0 if chunk.num_spoken else self._quiet_frames + 1
        if self._rest is None or self._quiet_frames > self._clock.fps // 2:
            self._rest = pixels
