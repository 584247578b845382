"""The sampler of a face's movements, chunk by chunk."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.cast.characters import CAST
from avatar.cast.sampler import MotionState, init_state, step
from avatar.media import Behaviour, CueName

pytestmark = pytest.mark.streaming

Told = tuple[Behaviour, tuple[CueName, ...], int]
"""What is told at once, and for how many frames it holds."""

STORY: tuple[Told, ...] = (
    ("idle", ("smile",), 48),
    ("listening", (), 120),
    ("listening", ("nod", "look_left"), 36),
    ("thinking", (), 60),
    ("speaking", ("surprised",), 12),
    ("speaking", ("shake", "shake"), 240),
    ("idle", (), 84),
)


def fresh(who: int = 0) -> MotionState:
    return init_state(CAST[who].seed, CAST[who].temperament)


def played(state: MotionState, story: Sequence[Told]) -> NDArray[np.float32]:
    pieces = []
    for behaviour, cues, num_frames in story:
        piece, state = step(state, behaviour, cues, num_frames)
        pieces.append(piece)
    return np.concatenate(pieces)


def cut(story: Sequence[Told], size: int) -> list[Told]:
    """The same in pieces of at most `size` frames; cues come with the first piece of theirs."""
    pieces: list[Told] = []
    for behaviour, cues, num_frames in story:
        for start in range(0, num_frames, size):
            pieces.append((behaviour, () if start else cues, min(size, num_frames - start)))
    return pieces


@pytest.mark.parametrize("size", [1, 7, 12, 100])
def test_chunked_equals_whole_exactly(size: int) -> None:
    np.testing.assert_array_equal(played(fresh(), cut(STORY, size)), played(fresh(), STORY))


def test_frames_that_are_not_asked_for_change_nothing() -> None:
    story = [part for told in STORY for part in ((told[0], told[1], 0), (told[0], (), told[2]))]
    np.testing.assert_array_equal(played(fresh(), story), played(fresh(), STORY))


@pytest.mark.parametrize("after", range(1, len(STORY)))
def test_the_past_is_unchanged_by_the_future(after: int) -> None:
    other: Told = ("thinking" if STORY[after][0] != "thinking" else "idle", ("bow",), 60)
    one, two = played(fresh(), STORY), played(fresh(), [*STORY[:after], other])
    length = sum(told[2] for told in STORY[:after])
    np.testing.assert_array_equal(one[:length], two[:length])
    assert (one[length : length + 24] != two[length : length + 24]).any()


def test_two_interleaved_sessions_equal_two_alone() -> None:
    stories = [cut(STORY, 12), cut(tuple(reversed(STORY)), 12)]
    alone = [played(fresh(who), stories[who]) for who in (0, 1)]
    states, mixed = [fresh(0), fresh(1)], [[], []]  # type: ignore[var-annotated]
    for parts in zip(*stories, strict=True):
        for who, (behaviour, cues, num_frames) in enumerate(parts):
            piece, states[who] = step(states[who], behaviour, cues, num_frames)
            mixed[who].append(piece)
    for who in (0, 1):
        np.testing.assert_array_equal(np.concatenate(mixed[who]), alone[who])


def test_a_state_is_not_changed_by_its_steps() -> None:
    state = fresh()
    first, _ = step(state, "speaking", ("nod",), 50)
    step(state, "thinking", ("bow",), 100)
    again, _ = step(state, "speaking", ("nod",), 50)
    np.testing.assert_array_equal(first, again)
