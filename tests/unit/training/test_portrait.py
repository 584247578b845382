"""The parts of the renderer keep their promises: net, lips, lids, pixels and light."""

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from training.data.looks import LOOKS
from training.portrait.action import REST, Movement, Pose, Stance
from training.portrait.develop import develop, exposed
from training.portrait.face import Face
from training.portrait.lids import EyeShape, Lids
from training.portrait.lips import LIP_RINGS, Lips, LipShape
from training.portrait.mesh import grid_triangles, normals_of
from training.portrait.raster import rasterize
from training.portrait.scene import rotation
from training.portrait.shape import head_field

pytestmark = pytest.mark.unit

MUZZLE = np.array([6.5, 0.1, -0.08, -0.1, 0.0])


@pytest.fixture(scope="module")
def face() -> Face:
    look = LOOKS["mira"]
    return Face(head_field(look.head), look.head, look.eyes, look.mouth)


def between(lips: Lips, pose: Pose) -> float:
    """Distance of the wet lines in the middle of the mouth."""
    wet = lips.rings(pose)[-LIP_RINGS]
    middle = len(wet) // 4
    return float(wet[middle, 1] - wet[3 * middle, 1])


def test_shut_lips_touch_and_open_ones_part_by_their_gain() -> None:
    lips = Lips(LipShape(gain=3.5), -6.0, MUZZLE)
    assert between(lips, Pose()) <= 0.0
    assert between(lips, Pose(open=1.0)) == pytest.approx(3.5, rel=0.02)
    assert between(lips, Pose(open=0.5)) == pytest.approx(1.75, rel=0.02)


def test_lips_spread_and_purse() -> None:
    lips = Lips(LipShape(), -6.0, MUZZLE)

    def half(pose: Pose) -> float:
        return float(lips.rings(pose)[-1][:, 0].max())

    assert half(Pose(wide=1.0)) > 1.1 * half(Pose()) > 1.3 * half(Pose(round=1.0, wide=-0.9))


def test_pursed_lips_stand_out() -> None:
    lips = Lips(LipShape(), -6.0, MUZZLE)
    assert lips.rings(Pose(round=1.0))[..., 2].max() > lips.rings(Pose())[..., 2].max() + 0.5


def test_a_smile_lifts_the_corners() -> None:
    lips = Lips(LipShape(), -6.0, MUZZLE)
    corner = lips.rings(Pose(smile=1.0))[-1][0, 1] - lips.rings(Pose())[-1][0, 1]
    assert corner > 0.8


@pytest.mark.parametrize("side", [-1, 1])
def test_a_blink_brings_the_lids_together(side: int) -> None:
    lids = Lids(EyeShape(), side)
    for blink, least, most in ((0.0, 0.5, 1.2), (0.5, 0.2, 0.6), (1.0, 0.0, 0.06)):
        upper, lower = lids.heights(Pose(), Movement(blink=blink))
        assert least <= float((upper - lower).max()) <= most


def test_the_net_of_the_face_has_no_crack_and_one_outside(face: Face) -> None:
    corners = face.triangles
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    directed = Counter(map(tuple, edges.tolist()))
    assert max(directed.values()) == 1
    border = {edge for edge in directed if edge[::-1] not in directed}
    inner = {int(v) for r in (*face.eye_rings.values(), face.mouth_ring) for v in r.inside[-1]}
    behind = {v for v in {v for edge in border for v in edge} if face.rest[v, 2] < -3.0}
    assert {v for edge in border for v in edge} <= inner | behind


def test_speech_moves_only_the_lower_face(face: Face) -> None:
    moved = np.linalg.norm(face.place(Pose(open=1.0), Movement()) - face.place(*REST), axis=1)
    assert moved.max() > 2.0
    assert moved[face.rest[:, 1] > -1.5].max() < 0.05


def test_a_blink_moves_only_what_is_near_the_eyes(face: Face) -> None:
    moved = np.linalg.norm(face.place(Pose(), Movement(blink=1.0)) - face.place(*REST), axis=1)
    far = (np.abs(face.rest[:, 1]) > 3.2) | (face.rest[:, 2] < 0.0)
    assert moved.max() > 0.8
    assert moved[far].max() < 1e-9


def test_each_pixel_sees_the_nearest_triangle_over_its_middle() -> None:
    rng = np.random.default_rng(4)
    screen = np.concatenate(
        [rng.uniform(-4, 36, (60, 2)), rng.uniform(0, 1, (60, 1))], axis=1
    ).astype(np.float32)
    triangles = np.arange(60, dtype=np.int32).reshape(20, 3)
    nearest, owner = np.empty((32, 32), np.float32), np.empty((32, 32), np.int32)
    weights = np.empty((32, 32, 2), np.float32)
    rasterize(screen, triangles, np.ones(20, bool), nearest, owner, weights)
    wrong = 0
    for row in range(32):
        for column in range(32):
            best, found = -1e9, -1
            for index, (a, b, c) in enumerate(screen[triangles].astype(float)):
                matrix = np.array([b[:2] - a[:2], c[:2] - a[:2]]).T
                s, t = np.linalg.solve(matrix, np.array([column + 0.5, row + 0.5]) - a[:2])
                depth = a[2] + s * (b[2] - a[2]) + t * (c[2] - a[2])
                if min(s, t, 1 - s - t) >= 0 and depth > best:
                    best, found = depth, index
            wrong += owner[row, column] != found
    assert wrong <= 2  # a middle that lies on an edge may fall to either side


def test_triangles_seen_from_behind_are_left_out() -> None:
    screen = np.array([[0, 0, 0], [0, 8, 0], [8, 0, 0]], np.float32)
    nearest, owner = np.empty((8, 8), np.float32), np.empty((8, 8), np.int32)
    weights, front = np.empty((8, 8, 2), np.float32), np.array([[0, 1, 2]], np.int32)
    rasterize(screen, front, np.zeros(1, bool), nearest, owner, weights)
    assert (owner == 0).sum() > 20
    rasterize(screen, front[:, ::-1].copy(), np.zeros(1, bool), nearest, owner, weights)
    assert (owner == 0).sum() == 0


def test_developing_undoes_exposing() -> None:
    display = np.linspace(0.0, 0.98, 16 * 16 * 3).reshape(16, 16, 3)
    flat = np.repeat(np.repeat(display, 2, 0), 2, 1)
    out = np.empty((16, 16, 3), np.uint8)
    develop(exposed(flat), out)
    # neighbours differ by little, so the filter changes little
    assert np.abs(out[2:-2, 2:-2] / 255.0 - display[2:-2, 2:-2]).max() < 0.02


def test_a_sheet_faces_its_viewer() -> None:
    x, y = np.meshgrid(np.arange(3.0), -np.arange(3.0))
    points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1).astype(np.float32)
    assert (normals_of(points, grid_triangles(3, 3))[:, 2] > 0.99).all()


def test_the_head_turns_as_the_controls_say() -> None:
    ahead, up = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    assert (rotation(Stance(yaw=1.0)) @ ahead)[0] > 0.2
    assert (rotation(Stance(pitch=1.0)) @ ahead)[1] > 0.1
    assert (rotation(Stance(roll=1.0)) @ up)[0] > 0.1
