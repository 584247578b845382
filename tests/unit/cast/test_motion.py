"""Movement curves are a pure function of the frame index."""

import dataclasses

import numpy as np
import pytest

from avatar.cast.characters import CAST, Temperament
from avatar.cast.motion import CONTROL_DIM, CONTROL_NAMES, controls, rest_controls

pytestmark = pytest.mark.unit

CALM = Temperament(blinks_per_minute=17.0, sway=1.0, brow_range=0.6, smile=0.38)

GOLDEN = [
    *(0.4559709, -0.1218859, 0.1037399, 0.3476883, -0.389957),
    *(0.0, 0.0426956, 0.3273707, 0.03003, 0.3659666),
]
"""Frame 1000 of seed 101, as first computed on x86-64 with numpy 2.4."""


def column(name: str) -> int:
    return CONTROL_NAMES.index(name)


@pytest.mark.parametrize("sizes", [[1] * 60, [12] * 5, [7, 30, 23], [60, 0]])
def test_any_chunking_equals_the_whole_exactly(sizes: list[int]) -> None:
    start = 123_456
    whole = controls(7, start, 60, CALM)
    edges = np.cumsum([0, *sizes])
    parts = [controls(7, start + int(e), n, CALM) for e, n in zip(edges, sizes, strict=False)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_curves_keep_their_shape_type_and_range_far_into_a_session() -> None:
    curves = controls(3, 10**9, 2000, CALM)
    assert curves.shape == (2000, CONTROL_DIM - 1)
    assert curves.dtype == np.float32
    assert np.abs(curves).max() <= 1.0
    assert curves[:, [column("blink"), column("smile")]].min() >= 0.0


def test_blinks_last_six_frames_and_come_every_two_to_six_seconds() -> None:
    closed = controls(5, 0, 25 * 600, CALM)[:, column("blink")] > 0
    starts = np.flatnonzero(np.diff(closed.astype(int)) == 1) + 1
    ends = np.flatnonzero(np.diff(closed.astype(int)) == -1) + 1
    whole = min(len(starts), len(ends))
    assert set((ends[:whole] - starts[:whole]).tolist()) == {6}
    gaps_s = np.diff(starts) / 25
    assert gaps_s.min() >= 1.8
    assert gaps_s.max() <= 6.0
    assert abs(len(starts) / 10 - CALM.blinks_per_minute) <= 1.0


def test_the_head_moves_without_jerks() -> None:
    curves = controls(5, 0, 25 * 120, CALM)
    pose = curves[:, [column(name) for name in ("yaw", "pitch", "roll", "tx", "ty")]]
    assert pose.std(axis=0).min() > 0.1
    assert np.abs(np.diff(pose, axis=0)).max() < 0.15


def test_more_sway_moves_the_head_more_and_leaves_blinks_alone() -> None:
    lively = dataclasses.replace(CALM, sway=1.5 * CALM.sway)
    calm, moved = controls(1, 0, 500, CALM), controls(1, 0, 500, lively)
    assert moved[:, column("yaw")].std() > 1.2 * calm[:, column("yaw")].std()
    np.testing.assert_array_equal(moved[:, column("blink")], calm[:, column("blink")])


def test_seeds_give_unrelated_movements() -> None:
    one, other = (controls(seed, 0, 25 * 300, CALM)[:, column("yaw")] for seed in (1, 2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.35


def test_the_numbers_are_the_same_on_every_platform() -> None:
    golden = controls(101, 1000, 1, CALM)[0]
    np.testing.assert_allclose(golden, GOLDEN, atol=1e-6)


def test_the_portrait_is_at_rest() -> None:
    rest = rest_controls(CALM)
    assert rest[column("smile")] == np.float32(CALM.smile)
    assert np.count_nonzero(rest) == 1


def test_a_negative_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        controls(1, -1, 5, CALM)


def test_the_cast_has_four_members_with_their_own_ids_and_seeds() -> None:
    assert len({character.id for character in CAST}) == 4
    assert len({character.seed for character in CAST}) == 4
