"""The shipped face networks see drawn strangers; a YuNet file plugs in."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.errors import InvalidInput, NotFound
from training.data.footage.collage import SIZE, collage, ground, truth_of
from training.data.footage.detector import WEIGHTS, NetFaceDetector, load_face_net
from training.data.footage.drawn_faces import HELD_OUT, DrawnFaces, drawn_faces
from training.data.footage.face_net import STRIDE
from training.data.footage.mouths import NetMouthReader, PixelMouthReader, cut_mouth
from training.data.footage.speech_net import WEIGHTS as SPEECH_WEIGHTS
from training.data.footage.speech_net import load_speech_net, spoken_mouth
from training.data.footage.tracks import MEDIAN_SURE
from training.data.footage.yunet import YuNetDetector, faces_at
from training.data.looks import LOOKS

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def stranger() -> DrawnFaces:
    """A character that the networks never saw."""
    return drawn_faces(LOOKS[HELD_OUT[0]], 12, np.random.default_rng(4))


@pytest.fixture(scope="module")
def detector() -> NetFaceDetector:
    return NetFaceDetector(load_face_net().finder)


def test_the_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size + SPEECH_WEIGHTS.stat().st_size < 1_000_000


@pytest.mark.parametrize("scale", [1, 2])
def test_a_stranger_is_found_near_and_farther_off(
    detector: NetFaceDetector, stranger: DrawnFaces, scale: int
) -> None:
    found = 0
    for frame, (x, y, height, _, _) in zip(stranger.frames, stranger.places, strict=True):
        scene = np.full((192 * scale, 320 * scale, 3), 90, np.uint8)
        scene[:192, :192] = frame
        found += any(
            np.hypot(face.x - x, face.y - y) < 0.15 * height and abs(face.height / height - 1) < 0.3
            for face in detector.find(scene)
        )
    assert found >= 10


def test_grounds_without_faces_show_few(detector: NetFaceDetector) -> None:
    rng = np.random.default_rng(3)
    grounds = [(ground(rng) * 255).astype(np.uint8) for _ in range(20)]
    found = [face for each in grounds for face in detector.find(each)]
    assert sum(face.sure >= MEDIAN_SURE for face in found) <= 2


def test_the_mouth_of_a_stranger_is_read(stranger: DrawnFaces) -> None:
    crops = [
        cut_mouth(frame, place[3], place[4], place[2])
        for frame, place in zip(stranger.frames, stranger.places, strict=True)
    ]
    read = NetMouthReader(load_face_net().reader).read(crops)
    assert np.corrcoef(read[:, 0], stranger.mouths[:, 0])[0, 1] > 0.9
    dark = PixelMouthReader().read(crops)
    assert np.corrcoef(dark[:, 0], stranger.mouths[:, 0])[0, 1] > 0.4


def test_a_mouth_at_the_edge_is_cut_with_repeated_pixels() -> None:
    frame = np.full((60, 80, 3), 200, np.uint8)
    crop = cut_mouth(frame, 2.0, 58.0, 50.0)
    assert crop.shape == (3, 48, 48)
    assert float(crop.min()) == pytest.approx(200 / 127.5 - 1, abs=0.01)


def test_a_collage_tells_where_its_faces_are(stranger: DrawnFaces) -> None:
    for seed in range(20):
        made = collage(stranger, np.random.default_rng(seed))
        assert made.picture.shape == (SIZE, SIZE, 3)
        assert made.truth.shape == (7, SIZE // STRIDE, SIZE // STRIDE)
        assert set(np.unique(made.truth[0])) <= {0.0, 1.0}
    truth = truth_of([np.array([100.0, 60.0, 64.0, 100.0, 80.0], np.float32)])
    assert truth[0, 7, 12] == 1
    assert truth[1, 7, 12] == 1  # twice the unit
    assert truth[5, 7, 12] == pytest.approx(20 / 64)


def test_long_sound_is_heard_in_pieces_as_in_one() -> None:
    net = load_speech_net()
    sound = 0.1 * np.random.default_rng(1).standard_normal(1600 * 640).astype(np.float32)
    assert spoken_mouth(net, sound).shape == (1600, 3)
    whole = spoken_mouth(net, sound)[1450:1550]
    alone = spoken_mouth(net, sound[1400 * 640 :])[50:150]
    assert np.abs(whole - alone).max() < 1e-4
    assert spoken_mouth(net, sound[:0]).shape == (0, 3)


def test_a_yunet_cell_becomes_a_face_in_the_pictures_own_pixels() -> None:
    stride, columns = 8, 10
    outputs = {
        "cls_8": np.zeros((1, 80, 1), np.float32),
        "obj_8": np.ones((1, 80, 1), np.float32),
        "kps_8": np.zeros((1, 80, 10), np.float32),
    }
    cell = 3 * columns + 4
    outputs["cls_8"][0, cell] = 0.9
    # eyes and the mouth's corners, in cells from this one's corner
    outputs["kps_8"][0, cell] = [-1, -1, 1, -1, 0, 0, -0.5, 1, 0.5, 1]
    (face,) = faces_at(stride, columns, outputs, scale=0.5)
    assert (face.mouth_x, face.mouth_y) == (4 * 16, 4 * 16)
    assert face.x == 64
    assert 2 * 16 < face.y < 4 * 16
    assert face.sure == pytest.approx(np.sqrt(0.9))


def test_a_wrong_detector_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.onnx"):
        YuNetDetector(tmp_path / "none.onnx")
    (tmp_path / "letter.onnx").write_text("no model")
    with pytest.raises(InvalidInput, match=r"letter\.onnx"):
        YuNetDetector(tmp_path / "letter.onnx")
