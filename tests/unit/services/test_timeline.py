"""Speech laid onto chunks: nothing lost, nothing moved, sound and chunks of one length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar.audio.resample import resample
from avatar.audio.video import SOUND_RATE
from avatar.media import AudioChunk, SessionId, TimedCue
from avatar.timebase import ChunkClock
from services.gateway.timeline import CLOSING_S, Timeline

pytestmark = pytest.mark.unit

CLOCK = ChunkClock()
CHUNK = 11_520
"""Samples of one chunk at SOUND_RATE."""


def timeline() -> Timeline:
    return Timeline(CLOCK, SessionId("s"), fence=7)


def speech(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def drained(line: Timeline) -> list[AudioChunk]:
    chunks = []
    while (chunk := line.next_chunk()) is not None:
        chunks.append(chunk)
    return chunks


def test_a_chunk_waits_for_its_speech_and_the_speech_after_it() -> None:
    line = timeline()
    line.push(speech(CHUNK + 7_677))  # two latents of look-ahead are 7680 samples
    assert line.next_chunk() is None
    line.push(speech(3))
    chunk = line.next_chunk()
    assert chunk is not None
    assert chunk.samples.size == 7_680
    assert chunk.lookahead.size == 5_120
    assert line.next_chunk() is None


def test_stamps_count_chunks_and_media_time() -> None:
    line = timeline()
    line.push(speech(4 * CHUNK))
    line.finish()
    chunks = drained(line)
    assert [chunk.stamp.seq for chunk in chunks] == [0, 1, 2, 3, 4]
    assert [chunk.stamp.pts for chunk in chunks] == [23_040 * seq for seq in range(5)]
    assert {chunk.stamp.fence for chunk in chunks} == {7}
    assert [chunk.last for chunk in chunks] == [False, False, False, False, True]


def test_the_last_word_is_followed_by_silence_in_which_the_mouth_closes() -> None:
    line = timeline()
    line.push(np.full(CHUNK, 0.5, np.float32))
    line.finish()
    samples = np.concatenate([chunk.samples for chunk in drained(line)])
    silent = samples[7_680 + 40 :]  # the resampler's filter rings for a few samples
    assert silent.size >= CLOSING_S * 16_000 - 40
    assert np.abs(silent).max() == 0


def test_nothing_said_is_nothing_to_show() -> None:
    line = timeline()
    line.finish()
    assert line.is_given_out
    assert line.chunks_known == 0
    assert line.next_chunk() is None


def test_speech_after_the_end_is_refused() -> None:
    line = timeline()
    line.finish()
    with pytest.raises(ValueError, match="complete"):
        line.push(speech(10))


def test_a_chunk_sees_the_speech_that_the_next_one_says() -> None:
    line = timeline()
    line.push(speech(5 * CHUNK))
    line.finish()
    chunks = drained(line)
    for chunk, following in zip(chunks, chunks[1:], strict=False):
        np.testing.assert_array_equal(chunk.lookahead, following.samples[:5_120])
    assert chunks[-1].lookahead.size == 0


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=6), st.booleans())
def test_sound_and_chunks_are_equally_long_whatever_the_sentences(
    lengths: list[int], is_read_early: bool
) -> None:
    line = timeline()
    chunks: list[AudioChunk] = []
    for seed, length in enumerate(lengths):
        line.push(speech(length, seed))
        if is_read_early:
            chunks += drained(line)
    line.finish()
    chunks += drained(line)
    sounds = [line.take_sound() for _ in chunks]
    assert {chunk.samples.size for chunk in chunks} == {7_680}
    assert {sound.size for sound in sounds} == {CHUNK}
    assert line.take_sound().size == 0
    assert len(chunks) == line.chunks_known
    assert line.sound_s == pytest.approx(len(chunks) * CLOCK.chunk_s)


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=6))
def test_the_same_reply_makes_the_same_chunks_however_fast_it_comes(lengths: list[int]) -> None:
    slow, fast = timeline(), timeline()
    slowly: list[AudioChunk] = []
    for seed, length in enumerate(lengths):
        slow.push(speech(length, seed))
        fast.push(speech(length, seed))
        slowly += drained(slow)
    slow.finish()
    fast.finish()
    slowly += drained(slow)
    for one, other in zip(slowly, drained(fast), strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.lookahead, other.lookahead)


def test_a_sentence_sounds_as_it_was_given_and_lips_get_the_same_sentence() -> None:
    said = speech(3 * CHUNK)
    line = timeline()
    line.push(said)
    line.finish()
    chunks = drained(line)
    sound = np.concatenate([line.take_sound() for _ in chunks])
    np.testing.assert_array_equal(sound[: said.size], said)
    lips = np.concatenate([chunk.samples for chunk in chunks])
    np.testing.assert_array_equal(lips[: 3 * 7_680], resample(said, SOUND_RATE, 16_000))


def test_speech_at_another_rate_keeps_its_length() -> None:
    line = timeline()
    line.push(speech(22_050), sample_rate=22_050)
    assert line.sound_s == pytest.approx(1.0, abs=3 / SOUND_RATE)


def test_cues_are_in_the_chunks_in_which_they_are_due() -> None:
    line = timeline()
    line.add_cues([TimedCue("smile", 0.0), TimedCue("nod", 0.5)])
    line.push(speech(2 * CHUNK))
    line.add_cues([TimedCue("bow", 0.1)])
    line.push(speech(CHUNK))
    line.finish()
    told = [chunk.cues for chunk in drained(line)]
    assert told == [("smile",), ("nod",), ("bow",), ()]


def test_cues_are_the_same_however_fast_the_reply_comes() -> None:
    slow, fast = timeline(), timeline()
    slow_chunks = []
    for line in (slow, fast):
        for seed in range(4):
            line.add_cues([TimedCue("nod", 0.3), TimedCue("smile", 0.9)])
            line.push(speech(2 * CHUNK + 1000, seed))
            if line is slow:
                slow_chunks += drained(line)
        line.finish()
    slow_chunks += drained(slow)
    assert [c.cues for c in slow_chunks] == [c.cues for c in drained(fast)]


def test_the_face_speaks_in_chunks_with_sound() -> None:
    line = timeline()
    near = speech(CHUNK - 400)  # filters reach a little beyond an edge
    line.push(np.concatenate([near, np.zeros(2 * CHUNK + 800, np.float32), near]))
    line.finish()
    told = [chunk.behaviour for chunk in drained(line)]
    assert told == ["speaking", "idle", "idle", "speaking", "idle"]
