"""Faces of single frames become steady tracks, and those become squares."""

import numpy as np
import pytest

from tests.fakes.footage import face_at
from training.data.footage.crop import (
    FACE_SHARE,
    FACE_Y,
    Refusal,
    Square,
    cut_square,
    face_tokens,
    in_square,
    mouth_box,
    square_for,
)
from training.data.footage.detector import Face, without_doubles
from training.data.footage.shots import find_shots, thumbnail
from training.data.footage.tracks import HEIGHT, FaceTrack, X, Y, link_faces

pytestmark = pytest.mark.unit


def still_track(x: float, y: float, height: float, count: int = 81, start: int = 0) -> FaceTrack:
    place = np.array([x, y, height, x, y + 0.28 * height], np.float32)
    return FaceTrack(start, np.repeat(place[None], count, axis=0))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (90, 160, 3), np.uint8)


def scene(seed: int) -> np.ndarray:
    """Large soft areas, as pictures have them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return np.kron(coarse, np.ones((30, 40, 1), np.uint8))


def test_a_cut_is_found_and_movement_is_none() -> None:
    first, second = scene(1), scene(2)
    moving = [np.roll(first, 2 * i, axis=1) for i in range(20)]
    frames = [*moving, *([second] * 15)]
    assert find_shots(map(thumbnail, frames)) == [(0, 20), (20, 35)]


def test_a_film_without_frames_has_no_shots() -> None:
    assert find_shots([]) == []


def test_two_faces_keep_apart_when_they_come_near() -> None:
    found = [[face_at(100 + i, 80), face_at(200 - i, 82)] for i in range(25)]
    tracks = link_faces(found, [(0, 25)], min_frames=20)
    assert [len(track.places) for track in tracks] == [25, 25]
    left, right = tracks
    assert left.places[-3, X] == pytest.approx(122, abs=2)
    assert right.places[-3, X] == pytest.approx(178, abs=2)


def test_a_short_gap_is_filled_in_and_a_long_one_ends_the_track() -> None:
    found: list[list[Face]] = [[face_at(100, 80)] for _ in range(60)]
    found[10:14] = [[] for _ in range(4)]
    found[30:45] = [[] for _ in range(15)]
    tracks = link_faces(found, [(0, 60)], min_frames=10)
    assert [(track.start, track.end) for track in tracks] == [(0, 30), (45, 60)]
    assert np.abs(tracks[0].places[:, X] - 100).max() < 0.01


def test_no_track_spans_a_cut() -> None:
    found = [[face_at(100, 80)] for _ in range(40)]
    tracks = link_faces(found, [(0, 18), (18, 40)], min_frames=10)
    assert [(track.start, track.end) for track in tracks] == [(0, 18), (18, 40)]


def test_a_single_wrong_place_is_taken_out() -> None:
    found = [[face_at(100, 80)] for _ in range(30)]
    found[12] = [face_at(112, 80)]
    (track,) = link_faces(found, [(0, 30)], min_frames=10)
    assert np.abs(track.places[:, X] - 100).max() < 0.5


def test_a_track_that_nobody_is_sure_of_is_left_out() -> None:
    unsure = Face(50, 50, 40, 50, 60, 0.6)
    sure = Face(150, 50, 40, 150, 60, 0.9)
    (track,) = link_faces([[unsure, sure]] * 20, [(0, 20)], min_frames=10)
    assert track.places[0, X] == 150


def test_short_tracks_are_left_out() -> None:
    assert link_faces([[face_at(50, 50)]] * 9, [(0, 9)], min_frames=10) == []


def test_of_faces_on_one_another_the_surest_stays() -> None:
    doubled = [Face(50, 50, 40, 50, 60, 0.5), Face(52, 50, 42, 52, 60, 0.8)]
    assert [face.sure for face in without_doubles(doubled)] == [0.8]


def test_a_face_within_a_surer_one_is_none() -> None:
    mouth_and_chin = Face(94, 123, 42, 94, 130, 0.6)
    nested = [Face(94, 98, 104, 94, 125, 0.98), mouth_and_chin]
    assert [face.height for face in without_doubles(nested)] == [104]
    behind_the_shoulder = Face(170, 60, 42, 170, 70, 0.6)
    assert len(without_doubles([*nested, behind_the_shoulder])) == 2


def test_the_square_frames_a_face_as_portraits_are_framed() -> None:
    square = square_for(still_track(300, 180, 106), [], 0, 81, (640, 360), 64)
    assert isinstance(square, Square)
    inside = in_square(still_track(300, 180, 106).places, square, 256)
    assert inside[0, HEIGHT] == pytest.approx(256 * FACE_SHARE, abs=0.5)
    assert inside[0, X] == pytest.approx(128, abs=0.5)
    assert inside[0, Y] == pytest.approx(256 * FACE_Y, abs=0.5)


@pytest.mark.parametrize(
    ("track", "reason"),
    [
        (still_track(300, 180, 40), "face_too_small"),
        (still_track(20, 180, 106), "face_at_the_edge"),
        (still_track(300, 180, 300), "face_at_the_edge"),
        (
            FaceTrack(
                0,
                still_track(300, 180, 106).places
                + np.linspace(0, 80, 81, dtype=np.float32)[:, None],
            ),
            "face_moves_too_much",
        ),
    ],
)
def test_a_face_that_cannot_be_framed_is_refused(track: FaceTrack, reason: str) -> None:
    assert square_for(track, [], 0, 81, (640, 360), 64) == Refusal(reason)


def test_two_faces_in_one_square_are_refused() -> None:
    other = still_track(360, 190, 60)
    refused = square_for(still_track(300, 180, 106), [other], 0, 81, (640, 360), 64)
    assert refused == Refusal("another_face_in_the_square")


def test_a_face_that_left_before_does_not_count() -> None:
    gone = still_track(360, 190, 60, count=20)
    track = still_track(300, 180, 106, count=100)
    assert isinstance(square_for(track, [gone], 19, 100, (640, 360), 64), Refusal)
    assert isinstance(square_for(track, [gone], 20, 100, (640, 360), 64), Square)


def test_the_cut_shows_what_is_in_the_square() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[40:60, 80:100] = 255
    cut = cut_square(frame, Square(80.0, 40.0, 20.0), 64)
    assert cut.shape == (64, 64, 3)
    assert cut[8:-8, 8:-8].min() > 240
    assert cut_square(noise(1), Square(0.0, 0.0, 93.0), 64).shape == (64, 64, 3)


def test_the_face_mask_holds_the_face_and_leaves_the_corners() -> None:
    places = np.array([[128, 131, 136, 128, 169]], np.float32)
    mask = face_tokens(places, 256, 8).reshape(8, 8)
    assert mask[4, 4] == mask[5, 4] == 1
    assert mask[0].sum() == mask[:, 0].sum() == mask[:, 7].sum() == 0
    wider = np.concatenate([places, places + np.array([[40, 0, 0, 40, 0]], np.float32)])
    assert face_tokens(wider, 256, 8).sum() > mask.sum()


def test_the_mouth_box_lies_around_the_mouth_and_in_the_picture() -> None:
    assert mouth_box(np.array([[128, 131, 136, 128, 169]], np.float32), 256) == (80, 137, 176, 217)
    low = mouth_box(np.array([[128, 200, 136, 250, 250]], np.float32), 256)
    assert low == (160, 176, 256, 256)
