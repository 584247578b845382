import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avatar.timebase import ChunkClock
from services.gateway.media import BLOCK_SAMPLES
from services.gateway.playout import REST_FADE_FRAMES, PlayChunk, Played, Playout

pytestmark = pytest.mark.unit
CLOCK = ChunkClock()
CHUNK = CLOCK.samples_per_chunk(48_000)
REST, MOUTH_OPEN = 50, 200


def chunk(
    number: int = 0,
    spoken: int = 0,
    epoch: int = 0,
    position: int = 0,
    ends: bool = False,
    cuts_in: bool = False,
    clock: ChunkClock = CLOCK,
) -> PlayChunk:
    """Frames show number * 12 + their index where nobody speaks, else MOUTH_OPEN."""
    frames = np.zeros((clock.frames_per_chunk, 2, 2, 3), np.uint8)
    frames += MOUTH_OPEN if spoken else REST
    frames[:, 0, 0, 0] = number * clock.frames_per_chunk + np.arange(clock.frames_per_chunk)
    sound = np.zeros(clock.samples_per_chunk(48_000), np.int16)
    sound[:spoken] = 1000 + number
    return PlayChunk(epoch, frames, sound, position, spoken, ends, cuts_in)


def play(playout: Playout, num_blocks: int) -> list[Played]:
    return [playout.advance() for _ in range(num_blocks)]


def sound_of(blocks: list[Played]) -> NDArray[np.int16]:
    return np.concatenate([block.sound for block in blocks])


def shown(blocks: list[Played]) -> list[tuple[int, NDArray[np.uint8]]]:
    """(instant in samples, pixels)."""
    return [
        (index * BLOCK_SAMPLES + offset, pixels)
        for index, block in enumerate(blocks)
        for offset, pixels in block.pictures
    ]


@pytest.mark.parametrize(
    "clock", [ChunkClock(), ChunkClock(16, 2, 4), ChunkClock(30, 3, 4)], ids=str
)
def test_sound_and_frames_keep_their_common_time(clock: ChunkClock) -> None:
    playout = Playout(clock)
    size = clock.samples_per_chunk(48_000)
    for number in range(3):
        playout.push(chunk(number, spoken=size, position=number * size, clock=clock))
    blocks = play(playout, 3 * size // BLOCK_SAMPLES)
    assert not any(block.stalled for block in blocks)
    expected = np.repeat([1000, 1001, 1002], size)
    sound = sound_of(blocks)
    assert np.array_equal(sound, expected[: sound.size])
    frame = 48_000 // clock.fps
    for number, (instant, pixels) in enumerate(shown(blocks)):
        assert instant == number * frame
        assert pixels[0, 0, 0] == number


@given(arrivals=st.lists(st.integers(0, 60), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_late_chunks_delay_sound_and_picture_alike(arrivals: list[int]) -> None:
    playout, blocks = Playout(CLOCK), []
    for number, wait in enumerate(arrivals):
        blocks += play(playout, wait)
        playout.push(chunk(number, spoken=CHUNK, position=number * CHUNK))
    blocks += play(playout, 24 * len(arrivals) + 24)
    sound = sound_of(blocks)
    first_shown: dict[int, int] = {}
    for instant, pixels in shown(blocks):
        first_shown.setdefault(int(pixels[0, 0, 0]), instant)
    for number in range(len(arrivals)):
        heard_at = int(np.flatnonzero(sound == 1000 + number)[0])
        assert first_shown[number * 12] == heard_at
        assert (sound == 1000 + number).sum() == CHUNK  # nothing is lost, nothing comes twice


def test_a_stalled_picture_is_given_again_at_the_frame_rate() -> None:
    playout = Playout(CLOCK)
    playout.push(chunk())
    blocks = play(playout, 24 + 50)
    assert sum(len(block.pictures) for block in blocks[24:]) == 25
    assert all(block.stalled for block in blocks[24:])
    instants = [instant for instant, _ in shown(blocks)]
    assert set(np.diff(instants)) == {1920}


def test_the_position_counts_the_samples_of_the_reply_that_were_played() -> None:
    playout = Playout(CLOCK)
    playout.push(chunk(0))
    playout.push(chunk(1, spoken=CHUNK, position=0))
    playout.push(chunk(2, spoken=5000, position=CHUNK, ends=True))
    blocks = play(playout, 24 * 3)
    assert [b.position for b in blocks[:24]] == [0] * 24
    assert blocks[24].position == BLOCK_SAMPLES
    assert blocks[-1].position == CHUNK + 5000
    ended = [index for index, block in enumerate(blocks) if block.ended_reply]
    assert ended == [24 + 24 + 5]  # 5000 samples end in the sixth block
    assert [b.speaks for b in blocks[24:54]] == [True] * 30
    assert not any(b.speaks for b in blocks[54:])


def test_a_reply_that_ends_with_a_silent_chunk_ends_once() -> None:
    playout = Playout(CLOCK)
    playout.push(chunk(0, spoken=CHUNK, position=0))
    playout.push(chunk(1, spoken=0, position=CHUNK, ends=True))
    assert sum(block.ended_reply for block in play(playout, 60)) == 1


@given(before=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_after_an_interruption_there_is_silence_and_the_face_comes_to_rest(before: int) -> None:
    playout = Playout(CLOCK)
    for number in range(2):
        playout.push(chunk(number))
    play(playout, 48)
    for number in range(2, 4):
        playout.push(chunk(number, spoken=CHUNK))
    play(playout, before + 1)
    playout.interrupt(1)
    playout.push(chunk(4, spoken=CHUNK))  # it was still on its way
    blocks = play(playout, 40)
    sound = sound_of(blocks)
    assert not sound[240:].any()  # 5 ms of fade
    assert np.abs(np.diff(sound[:240].astype(int))).max() < 50
    pictures = [pixels for _, pixels in shown(blocks)]
    mouths = [int(pixels[1, 1, 1]) for pixels in pictures]
    assert mouths[:REST_FADE_FRAMES] == sorted(mouths[:REST_FADE_FRAMES], reverse=True)
    assert set(mouths[REST_FADE_FRAMES + 1 :]) == {REST}
    assert not any(block.stalled for block in blocks)


def test_the_new_epoch_takes_over_softly() -> None:
    playout = Playout(CLOCK)
    playout.push(chunk(0, spoken=CHUNK))
    play(playout, 10)
    playout.interrupt(1)
    playout.push(chunk(2, epoch=1))
    mouths = [int(pixels[1, 1, 1]) for _, pixels in shown(play(playout, 20))]
    assert mouths[4:] == [REST] * len(mouths[4:])
    assert mouths[:4] == sorted(mouths[:4], reverse=True)
    assert MOUTH_OPEN > mouths[0] > mouths[3] > REST


def test_an_answer_cuts_in_on_idle_video() -> None:
    playout = Playout(CLOCK)
    playout.push(chunk(0))
    playout.push(chunk(1))
    play(playout, 5)
    playout.push(chunk(2, spoken=CHUNK, cuts_in=True))
    assert (playout.advance().sound == 1002).all()


def test_an_answer_never_cuts_off_another_one() -> None:
    playout = Playout(CLOCK)
    playout.push(chunk(0, spoken=CHUNK))
    play(playout, 5)
    playout.push(chunk(1, spoken=CHUNK, cuts_in=True))
    sound = sound_of(play(playout, 43))
    assert (sound == 1000).sum() == CHUNK - 5 * BLOCK_SAMPLES
    assert (sound == 1001).sum() == CHUNK
