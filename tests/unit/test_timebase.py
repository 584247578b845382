"""Media time is exact, and refuses what would not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar.timebase import (
    TICKS_PER_SECOND,
    ChunkClock,
    samples_of_ticks,
    seconds,
    ticks_of_samples,
)

pytestmark = pytest.mark.unit


@given(st.integers(0, 10**9), st.sampled_from([8_000, 16_000, 24_000, 48_000]))
def test_samples_and_ticks_convert_without_loss(num_samples: int, sample_rate: int) -> None:
    assert samples_of_ticks(ticks_of_samples(num_samples, sample_rate), sample_rate) == num_samples


def test_a_duration_that_is_no_whole_number_of_ticks_is_refused() -> None:
    assert ticks_of_samples(44_100, 44_100) == TICKS_PER_SECOND
    with pytest.raises(ValueError, match="1 samples at 44100 Hz"):
        ticks_of_samples(1, 44_100)


def test_samples_of_ticks_rounds_down() -> None:
    assert [samples_of_ticks(ticks, 16_000) for ticks in (0, 2, 3, 5, 6)] == [0, 0, 1, 1, 2]


def test_ticks_are_48000_a_second() -> None:
    assert seconds(72_000) == 1.5


def test_the_default_chunk_is_12_frames_and_480_ms() -> None:
    clock = ChunkClock()
    assert clock.frames_per_chunk == 12
    assert clock.chunk_s == 0.48
    assert clock.samples_per_chunk(16_000) == 7_680
    assert clock.samples_per_latent(16_000) == 2_560


def test_a_chunk_of_8_frames_at_16_fps_is_half_a_second() -> None:
    assert ChunkClock(fps=16, latents_per_chunk=2).chunk_s == 0.5


@given(
    fps=st.sampled_from([16, 24, 25, 30]),
    latents=st.integers(1, 8),
    seq=st.integers(0, 10**7),
)
def test_chunks_tile_media_time_without_gap(fps: int, latents: int, seq: int) -> None:
    clock = ChunkClock(fps, latents)
    assert clock.pts(0) == 0
    assert clock.pts(seq + 1) - clock.pts(seq) == clock.ticks_per_chunk
    assert clock.ticks_per_chunk == clock.frames_per_chunk * clock.ticks_per_frame


@given(ticks=st.integers(0, 10**9))
def test_the_chunks_that_cover_a_time_are_as_few_as_can_be(ticks: int) -> None:
    clock = ChunkClock()
    num_chunks = clock.chunks_covering(ticks)
    assert clock.pts(num_chunks) >= ticks
    assert num_chunks == 0 or clock.pts(num_chunks - 1) < ticks


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"latents_per_chunk": 0}, {"frames_per_latent": -1}])
def test_a_clock_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ChunkClock(**wrong)


def test_a_frame_rate_without_whole_ticks_is_refused() -> None:
    with pytest.raises(ValueError, match="29 fps does not divide 48000"):
        ChunkClock(fps=29)
