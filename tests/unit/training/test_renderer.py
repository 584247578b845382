"""The renderer draws what its controls say."""

import numpy as np
import pytest

from avatar.cast.characters import CAST
from avatar.cast.motion import CONTROL_NAMES, rest_controls

skia = pytest.importorskip("skia", reason="skia-python and libGL are needed to draw")

from training.data.looks import LOOKS  # noqa: E402  # only where skia can be imported
from training.data.renderer import (  # noqa: E402
    PortraitRenderer,
    face_mask,
    mouth_box,
    portrait,
)

pytestmark = pytest.mark.unit

SHUT = (0.0, 0.0, 0.0, 0.0, 0.0)
OPEN = (1.0, 0.1, 0.0, 0.3, 0.2)
EVERYONE = pytest.mark.parametrize("character_id", list(LOOKS))


def pose(**values: float) -> np.ndarray:
    controls = rest_controls(CAST[0].temperament)
    for name, value in values.items():
        controls[CONTROL_NAMES.index(name)] = value
    return controls


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(256, 256) largest change of a channel."""
    return np.abs(one.astype(int) - other.astype(int)).max(axis=-1)


def test_every_character_has_a_look() -> None:
    assert set(LOOKS) == {character.id for character in CAST}


@EVERYONE
def test_a_frame_is_an_rgb_picture_and_repeatable(character_id: str) -> None:
    renderer = PortraitRenderer(LOOKS[character_id])
    first = renderer.frame(SHUT, pose())
    renderer.frame(OPEN, pose(yaw=1.0))
    assert first.shape == (256, 256, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(renderer.frame(SHUT, pose()), first)


@EVERYONE
def test_the_mouth_opens_about_thirty_pixels_inside_its_box(character_id: str) -> None:
    look = LOOKS[character_id]
    renderer = PortraitRenderer(look)
    x0, y0, x1, y1 = mouth_box(look)
    shut, opened = renderer.frame(SHUT, pose()), renderer.frame(OPEN, pose())
    middle = round(look.centre[0])
    # The dark or red cavity: a column where red clearly leads or all is dark.
    column = difference(shut, opened)[y0:y1, middle - 2 : middle + 3].max(axis=1)
    assert 28 <= np.count_nonzero(column > 25) <= 70
    box = np.zeros((256, 256), bool)
    box[y0:y1, x0:x1] = True
    assert difference(shut, opened)[box].mean() > 5 * difference(shut, opened)[~box].mean()


@EVERYONE
def test_speech_and_blinks_change_only_the_face(character_id: str) -> None:
    look = LOOKS[character_id]
    renderer = PortraitRenderer(look)
    still = renderer.frame(SHUT, pose())
    for other in (renderer.frame(OPEN, pose()), renderer.frame(SHUT, pose(blink=1.0))):
        change = difference(still, other)
        assert change.max() > 60
        assert change[~face_mask(look)].max() <= 6


def test_the_portrait_is_the_resting_frame() -> None:
    look = LOOKS["mira"]
    controls = np.zeros(len(CONTROL_NAMES), np.float32)
    controls[CONTROL_NAMES.index("smile")] = 0.35
    np.testing.assert_array_equal(portrait(look), PortraitRenderer(look).frame(SHUT, controls))


def test_the_characters_look_different() -> None:
    portraits = [portrait(look) for look in LOOKS.values()]
    for index, one in enumerate(portraits):
        for other in portraits[index + 1 :]:
            assert difference(one, other).mean() > 40


def test_gaze_moves_the_eyes_only() -> None:
    renderer = PortraitRenderer(LOOKS["finn"])
    change = difference(renderer.frame(SHUT, pose()), renderer.frame(SHUT, pose(gaze_x=0.8)))
    rows = np.flatnonzero(change.max(axis=1) > 10)
    assert 0 < rows.max() - rows.min() < 30
