import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avatar.audio.resample import StreamResampler, resample
from avatar.timebase import ChunkClock
from services.gateway.live_timeline import LaidChunk, LiveTimeline

pytestmark = pytest.mark.unit
CLOCK = ChunkClock()


def noise(num_samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def all_chunks(timeline: LiveTimeline) -> list[LaidChunk]:
    chunks = []
    while timeline.is_waiting:
        chunks.append(timeline.next_chunk())
    return chunks


@pytest.mark.parametrize("rates", [(24_000, 48_000), (22_050, 48_000), (48_000, 16_000)])
@given(cuts=st.lists(st.integers(1, 3000), max_size=6))
@settings(max_examples=20, deadline=None)
def test_pieces_resample_to_what_the_whole_does(rates: tuple[int, int], cuts: list[int]) -> None:
    sound = noise(7000)
    stream = StreamResampler(*rates)
    pieces = [stream.push(piece) for piece in np.split(sound, np.cumsum(cuts).clip(0, 7000))]
    out = np.concatenate([*pieces, stream.flush()])
    whole = resample(sound, *rates)
    assert out.size == whole.size
    assert np.abs(out - whole).max() < 1e-5


def test_a_call_without_speech_is_silent_to_the_ear_and_to_the_model() -> None:
    timeline = LiveTimeline(CLOCK)
    chunk = timeline.next_chunk()
    assert chunk.sound.shape == (23_040,)
    assert chunk.speech.shape == (7_680,)
    assert not chunk.sound.any()
    assert not chunk.speech.any()
    assert chunk.lookahead.size == 0
    assert not chunk.starts_reply
    assert not chunk.ends_reply


def test_every_sample_of_a_reply_is_laid_once_and_in_order() -> None:
    timeline = LiveTimeline(CLOCK)
    timeline.next_chunk()
    sound = noise(60_000)
    timeline.push(sound, 48_000)
    timeline.finish()
    chunks = all_chunks(timeline)
    laid = np.concatenate([chunk.sound[: chunk.num_spoken] for chunk in chunks])
    assert np.abs(laid / 32767 - sound).max() < 1e-3
    assert [chunk.position for chunk in chunks] == [0, 23_040, 46_080]
    assert [chunk.starts_reply for chunk in chunks] == [True, False, False]
    assert [chunk.ends_reply for chunk in chunks] == [False, False, True]
    assert not chunks[-1].sound[chunks[-1].num_spoken :].any()


def test_the_model_hears_what_is_played_and_what_comes_next() -> None:
    timeline = LiveTimeline(CLOCK)
    sound = noise(72_000)
    timeline.push(sound, 48_000)
    timeline.finish()
    chunks = all_chunks(timeline)
    heard = np.concatenate([chunk.speech for chunk in chunks])
    whole = resample(np.pad(sound, (0, heard.size * 3 - sound.size)), 48_000, 16_000)
    assert np.abs(heard - whole).max() < 1e-5
    assert chunks[0].lookahead.size == 2 * 2560
    assert np.abs(chunks[0].lookahead - whole[7680 : 7680 + 5120]).max() < 1e-5
    assert chunks[-1].lookahead.size == 0


def test_speech_that_comes_late_goes_on_at_the_next_chunk() -> None:
    timeline = LiveTimeline(CLOCK)
    timeline.push(noise(1000), 48_000)
    first = timeline.next_chunk()
    timeline.push(noise(1000, 1), 48_000)
    second = timeline.next_chunk()
    assert (first.num_spoken, second.position, second.num_spoken) == (1000, 1000, 1000)
    timeline.finish()
    assert timeline.next_chunk().ends_reply
    assert not timeline.next_chunk().ends_reply


def test_a_new_reply_begins_at_zero_and_knows_nothing_of_the_old_one() -> None:
    timeline = LiveTimeline(CLOCK)
    timeline.push(noise(100_000), 24_000)
    timeline.next_chunk()
    timeline.begin()
    assert not timeline.is_waiting
    assert not timeline.next_chunk().sound.any()
    timeline.push(noise(480, 2), 24_000)
    timeline.finish()
    assert timeline.next_chunk().starts_reply
