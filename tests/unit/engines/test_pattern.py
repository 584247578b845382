"""The marker picture: numbers that survive the video codec of a call."""

import numpy as np
import pytest

from avatar.engines.pattern import Mark, blocks_of, draw, mark_of, read
from avatar.speech.marker import Stall
from tests.fakes.marks import through_vp8

pytestmark = pytest.mark.unit

MARKS = [
    Mark(0, 0),
    Mark(65_535, 15, 255, 8.0, Stall("vae_decoder", 31)),
    Mark(1234, 3, 0, -32.0),
    Mark(77, 1, 129, -0.25, Stall("audio_encoder", 1)),
]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("size", [(64, 64), (256, 256), (320, 240)])
def test_what_is_drawn_is_read(mark: Mark, size: tuple[int, int]) -> None:
    assert read(draw(blocks_of(mark), *size)) == mark


def test_every_frame_of_a_call_survives_vp8() -> None:
    rng = np.random.default_rng(3)
    marks = [
        Mark(
            1000 + index,
            index // 20 % 16,
            int(rng.integers(256)) if index % 50 < 40 else None,
            float(rng.integers(-128, 32)) / 4 if index % 50 < 40 else 0.0,
        )
        for index in range(150)
    ]
    seen = through_vp8(np.stack([draw(blocks_of(mark), 256, 256) for mark in marks]))
    assert [read(picture) for picture in seen] == marks


def test_a_fade_between_two_marks_shows_none() -> None:
    before, after = (draw(blocks_of(mark), 256, 256).astype(float) for mark in MARKS[1:3])
    for weight in (0.15, 0.3, 0.5, 0.7, 0.85):
        assert read((weight * before + (1 - weight) * after).astype(np.uint8)) is None


def test_a_single_wrong_block_is_noticed() -> None:
    for mark in MARKS:
        blocks = blocks_of(mark)
        for at in range(56):
            damaged = blocks.copy()
            damaged.flat[at] ^= True
            assert mark_of(damaged) is None


def test_no_two_frames_in_a_row_look_alike() -> None:
    pictures = [blocks_of(Mark(frame, 0)) for frame in range(40)]
    assert all((a[7] != b[7]).any() for a, b in zip(pictures, pictures[1:], strict=False))
