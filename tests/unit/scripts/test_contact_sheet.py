"""The contact sheet of a small video."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import contact_sheet
from tests.fakes.video import mouth_opening, mp4_bytes

pytestmark = pytest.mark.unit


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(mp4_bytes(100))
    return path


def test_frames_are_spread_evenly() -> None:
    assert contact_sheet.spread(100, 4) == [12, 37, 62, 87]
    assert contact_sheet.spread(3, 8) == [0, 1, 2]


def test_a_clip_holds_its_frames_with_their_times(video: Path) -> None:
    clip = contact_sheet.read_clip(video)

    assert (clip.num_frames, clip.frame_rate) == (100, 25.0)
    assert [time_s for time_s, _ in clip.pictures] == [
        index / 25 for index in contact_sheet.spread(100, 8)
    ]
    assert {frame.size for _, frame in clip.pictures} == {(256, 256)}


def test_the_loudness_is_that_of_each_frame(video: Path) -> None:
    loudness = contact_sheet.read_clip(video).loudness_db
    opening = np.array([mouth_opening(index) for index in range(100)])

    heard = 10 ** (loudness / 20)
    assert np.corrcoef(heard, opening)[0, 1] > 0.95
    assert heard.max() == pytest.approx(0.4 / np.sqrt(2), rel=0.1)


def test_the_mouth_is_what_follows_the_sound_not_what_moves_most(video: Path) -> None:
    left, top, right, bottom = contact_sheet.read_clip(video).mouth

    assert left * 256 <= 104
    assert right * 256 >= 152
    assert top * 256 <= 164
    assert bottom * 256 >= 196
    assert left * 256 > 72


@pytest.mark.parametrize("sound", ["tone", "none"])
def test_without_a_hint_from_the_sound_the_mouth_is_what_moves_most(
    tmp_path: Path, sound: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4_bytes(50, sound=sound))

    left, _, right, _ = contact_sheet.read_clip(tmp_path / "a.mp4").mouth

    assert left * 256 < 60
    assert right * 256 > 80


def test_a_given_mouth_is_taken(video: Path) -> None:
    assert contact_sheet.read_clip(video, (0.1, 0.2, 0.3, 0.4)).mouth == (0.1, 0.2, 0.3, 0.4)


def test_the_sheet_shows_frames_and_mouths_of_every_video(video: Path, tmp_path: Path) -> None:
    contact_sheet.write_sheet([video, video], tmp_path / "sheet.png", (0.3, 0.6, 0.7, 0.8))

    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    half = len(pixels) // 2
    assert (pixels[:half] == pixels[half:]).all()
    tile, gap = contact_sheet.TILE, contact_sheet.GAP
    frames_top = contact_sheet.TITLE_HEIGHT
    mouths_top = frames_top + tile + gap
    for column in range(contact_sheet.COLUMNS):
        middle = gap + column * (tile + gap) + tile // 2
        forehead = pixels[frames_top + tile // 4, middle]
        mouth = pixels[mouths_top + tile // 2, middle]
        assert np.abs(forehead - 150).max() < 12
        assert mouth[0] < 90


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")

    with pytest.raises(OSError, match=r"a\.mp4 is no video"):
        contact_sheet.read_clip(tmp_path / "a.mp4")
