"""The renderer draws what its controls say."""

from functools import cache
from pathlib import Path

import numpy as np
import pydantic
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.cast.characters import CAST, character_of
from avatar.cast.motion import CONTROL_NAMES, rest_controls
from training.data.looks import FOLDER, LOOKS
from training.data.motions import session_controls
from training.data.renderer import PortraitRenderer, face_mask, mouth_box, portrait
from training.data.visemes import TARGETS
from training.meters.mouth_pixels import mouth_area
from training.portrait.look import read_look
from training.portrait.sheet import VISEMES

pytestmark = pytest.mark.unit

SHUT = TARGETS["silence"]
OPEN = TARGETS["aa"]
EVERYONE = pytest.mark.parametrize("character_id", list(LOOKS))
DRAWN = [each for each in LOOKS if each != "pixel"]

Picture = np.ndarray


@cache
def renderer_of(character_id: str) -> PortraitRenderer:
    return PortraitRenderer(LOOKS[character_id])


def pose(**values: float) -> np.ndarray:
    changed = rest_controls(CAST[0].temperament)
    for name, value in values.items():
        changed[CONTROL_NAMES.index(name)] = value
    return changed


def difference(one: Picture, other: Picture) -> Picture:
    """(256, 256) largest change of a channel."""
    return np.abs(one.astype(int) - other.astype(int)).max(axis=-1)


def inside(box: tuple[int, int, int, int]) -> Picture:
    mask = np.zeros((256, 256), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_every_character_has_a_look_and_every_look_a_character() -> None:
    ids = {character.id for character in CAST}
    assert set(LOOKS) == ids == {path.stem for path in FOLDER.glob("*.toml")}


@EVERYONE
def test_a_frame_is_an_rgb_picture_and_repeatable(character_id: str) -> None:
    renderer = renderer_of(character_id)
    first = renderer.frame(SHUT, pose())
    renderer.frame(OPEN, pose(yaw=1.0, blink=1.0))
    assert first.shape == (256, 256, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(renderer.frame(SHUT, pose()), first)


def test_a_look_gives_the_same_pictures_however_often_it_is_built() -> None:
    again = PortraitRenderer(LOOKS["finn"])
    one, other = (r.frame(OPEN, pose(yaw=0.4)) for r in (again, renderer_of("finn")))
    np.testing.assert_array_equal(one, other)


@EVERYONE
def test_the_mouth_opens_inside_its_box(character_id: str) -> None:
    box = mouth_box(LOOKS[character_id])
    renderer = renderer_of(character_id)
    change = difference(renderer.frame(SHUT, pose()), renderer.frame(OPEN, pose()))
    x0, y0, x1, y1 = box
    assert 28 <= np.count_nonzero(change[y0:y1, 126:131].max(axis=1) > 25) <= 70
    assert change[inside(box)].mean() > 5 * change[~inside(box)].mean()


@EVERYONE
def test_speech_and_blinks_change_only_the_face(character_id: str) -> None:
    renderer, mask = renderer_of(character_id), face_mask(LOOKS[character_id])
    still = renderer.frame(SHUT, pose())
    for other in (renderer.frame(OPEN, pose()), renderer.frame(SHUT, pose(blink=1.0))):
        change = difference(still, other)
        assert change.max() > 60
        assert change[~mask].max() <= 6


@EVERYONE
def test_a_method_that_knows_only_pixels_sees_the_opening(character_id: str) -> None:
    look, character = LOOKS[character_id], character_of(character_id)
    keys = np.array([TARGETS[name] for name in ("silence", *VISEMES[1:], "ae", "ih", "mbp", "ao")])
    at = np.linspace(0, len(keys) - 1, 32)
    mouth = np.stack([np.interp(at, np.arange(len(keys)), each) for each in keys.T], axis=1)
    movement = session_controls(character.seed, character.temperament, ["speaking"] * 3)
    renderer = renderer_of(character_id)
    frames = np.stack([renderer.frame(m, c) for m, c in zip(mouth, movement, strict=False)])
    still = renderer.frame(SHUT, pose(smile=0.35))
    seen = mouth_area(frames, still, mouth_box(look))
    assert np.corrcoef(seen, mouth[:, 0])[0, 1] > 0.7
    assert abs(np.corrcoef(seen, np.roll(mouth[:, 0], 8))[0, 1]) < 0.6


@EVERYONE
def test_visemes_look_different_from_each_other(character_id: str) -> None:
    renderer, box = renderer_of(character_id), inside(mouth_box(LOOKS[character_id]))
    frames = {name: renderer.frame(TARGETS[name], pose()) for name in VISEMES if name != "silence"}
    names = list(frames)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            change = difference(frames[one], frames[other])[box].mean()
            assert change > 0.35, f"{one} and {other} differ by {change:.2f}"


@EVERYONE
@pytest.mark.parametrize("control", CONTROL_NAMES)
def test_every_control_acts(character_id: str, control: str) -> None:
    renderer = renderer_of(character_id)
    start = {"smile": 0.0} if control == "smile" else {}
    still, moved = renderer.frame(SHUT, pose(**start)), renderer.frame(SHUT, pose(**{control: 1.0}))
    change = difference(still, moved)
    assert np.count_nonzero(change > 25) > 40
    # the wall behind does not move
    assert change[:40, :8].max() == change[:40, -8:].max() == 0


@pytest.mark.parametrize("character_id", DRAWN)
def test_a_closed_eye_shows_no_white(character_id: str) -> None:
    look, renderer = LOOKS[character_id], renderer_of(character_id)
    x = 128 + 9.1 * look.eyes.x
    y = 128 - 9.1 * (look.eyes.y + 1.7)
    spot = np.s_[round(y) - 9 : round(y) + 9, round(x) - 14 : round(x) + 14]

    def grey(picture: Picture) -> int:
        """Pixels as light as and no more coloured than the white of an eye."""
        part = picture[spot].astype(int)
        plain = part.max(-1) - part.min(-1) < 34
        return int(np.count_nonzero(plain & (part.min(-1) > 105)))

    assert grey(renderer.frame(SHUT, pose(blink=1.0))) < 0.3 * grey(renderer.frame(SHUT, pose()))


@EVERYONE
def test_gaze_moves_the_eyes_only(character_id: str) -> None:
    renderer = renderer_of(character_id)
    change = difference(renderer.frame(SHUT, pose()), renderer.frame(SHUT, pose(gaze_x=0.8)))
    rows = np.flatnonzero(change.max(axis=1) > 10)
    assert 0 < rows.max() - rows.min() < 60
    assert change[mouth_box(LOOKS[character_id])[1] + 8 :].max() <= 6


def test_the_catch_light_wanders_less_than_the_iris() -> None:
    renderer, look = renderer_of("mira"), LOOKS["mira"]
    x, y = 128 + 9.1 * look.eyes.x, 128 - 9.1 * (look.eyes.y + 1.7)
    # below the lashes, which are as dark as the pupil
    spot = np.s_[round(y) - 4 : round(y) + 5, round(x) - 18 : round(x) + 18]

    def middles(gaze: float) -> tuple[float, float]:
        part = renderer.frame(SHUT, pose(gaze_x=gaze))[spot].astype(int)
        columns = np.broadcast_to(np.arange(part.shape[1]), part.shape[:2])
        light, dark = part.min(-1) > 225, part.max(-1) < 60
        return columns[light].mean(), columns[dark].mean()

    (light_left, dark_left), (light_right, dark_right) = middles(-0.3), middles(0.3)
    assert 0 < light_right - light_left < dark_right - dark_left


def test_breath_moves_the_shoulders_only() -> None:
    renderer = renderer_of("otto")
    still = renderer.frame(SHUT, pose())
    change = difference(still, renderer.frame(SHUT, pose(breath=1.0)))
    assert change[220:].max() > 20
    assert change[:170].max() <= 6


def test_the_portrait_is_the_resting_frame() -> None:
    at_rest = np.zeros(len(CONTROL_NAMES), np.float32)
    at_rest[CONTROL_NAMES.index("smile")] = 0.35
    np.testing.assert_array_equal(portrait(LOOKS["mira"]), renderer_of("mira").frame(SHUT, at_rest))


def test_the_characters_look_different() -> None:
    stills = [renderer_of(each).frame(SHUT, pose()) for each in LOOKS]
    for index, one in enumerate(stills):
        for other in stills[index + 1 :]:
            assert difference(one, other).mean() > 40


def test_other_sizes_show_the_same_picture() -> None:
    large = PortraitRenderer(LOOKS["pixel"], 384).frame(SHUT, pose())
    assert large.shape == (384, 384, 3)
    small = renderer_of("pixel").frame(SHUT, pose())
    grown = np.kron(small, np.ones((3, 3, 1)))[::2, ::2]
    assert np.abs(grown - large).mean() < 6


def test_a_misspelt_key_of_a_look_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "someone.toml"
    path.write_text('[skin]\ncolor = "#ffffff"\n')
    with pytest.raises(pydantic.ValidationError, match="color"):
        read_look(path)


def test_a_colour_is_written_as_six_digits(tmp_path: Path) -> None:
    path = tmp_path / "someone.toml"
    path.write_text('[skin]\ncolour = "red"\n')
    with pytest.raises(pydantic.ValidationError, match="#rrggbb"):
        read_look(path)
