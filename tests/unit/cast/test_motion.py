"""The controls: their range and their rest."""

import numpy as np
import pytest

from avatar.cast.characters import CAST, Temperament
from avatar.cast.motion import (
    CONTROL_DIM,
    CONTROL_NAMES,
    HEAD,
    further,
    in_range,
    rest_controls,
)

pytestmark = pytest.mark.unit

CALM = Temperament(blinks_per_minute=17.0, sway=1.0, brow_range=0.6, smile=0.38)


def column(name: str) -> int:
    return CONTROL_NAMES.index(name)


def test_controls_are_clipped_to_what_they_may_be() -> None:
    clipped = in_range(np.full((2, CONTROL_DIM), -3.0))
    assert clipped.dtype == np.float32
    assert (clipped[:, [column("blink"), column("smile")]] == 0).all()
    assert clipped[:, column("yaw")].tolist() == [-1.0, -1.0]


def test_the_head_goes_further_and_nothing_else_does() -> None:
    asked = np.full((2, CONTROL_DIM - 1), 0.5)
    gone = further(asked, 1.2)
    is_head = np.isin(CONTROL_NAMES[:-1], HEAD)
    assert np.allclose(gone[:, is_head], 0.6)
    assert np.array_equal(gone[:, ~is_head], asked[:, ~is_head])
    assert further(asked, 3.0).max() == 1.0


def test_the_portrait_is_at_rest() -> None:
    rest = rest_controls(CALM)
    assert rest[column("smile")] == np.float32(CALM.smile)
    assert np.count_nonzero(rest) == 1


def test_the_cast_has_nine_members_with_their_own_ids_and_seeds() -> None:
    assert len({character.id for character in CAST}) == 9
    assert len({character.seed for character in CAST}) == 9
