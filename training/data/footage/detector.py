"""Where faces are in one picture: the seam for any detector, and the shipped one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from avatar.models.weights import load_into, read_model
from training.data.footage.face_net import STRIDE, UNIT, FaceFinder, FaceNet, FaceNetConfig

if TYPE_CHECKING:  # detection needs no renderer
    from training.data.footage.drawn_faces import DrawnFaces

WEIGHTS = Path(__file__).parent / "face_net.safetensors"
LONG_SIDES = (320, 176, 96)
"""Pixels of the longer side of the copies that the shipped detector looks at."""
_HEIGHTS = (16.0, 100.0)
"""Of faces that it judges well, in pixels of a copy; other copies show the others better."""
SURE = 0.5
"""Of a single picture; a track of less sure faces is dropped, see `tracks`."""


@dataclass(frozen=True)
class Face:
    """In pixels: the middle, the height from forehead to chin, the mouth; sure in [0, 1]."""

    x: float
    y: float
    height: float
    mouth_x: float
    mouth_y: float
    sure: float


class FaceDetector(Protocol):
    def find(self, frame: NDArray[np.uint8], /) -> list[Face]:
        """Faces of an (H, W, 3) RGB picture, the surest first."""
        ...


class NetFaceDetector:
    """The shipped network, which has seen drawn faces."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder

    def find(self, frame: NDArray[np.uint8]) -> list[Face]:
        picture = Image.fromarray(frame)
        return without_doubles([face for side in LONG_SIDES for face in self._at(picture, side)])

    @torch.no_grad()
    def _at(self, frame: Image.Image, long_side: int) -> list[Face]:
        """Faces of a size that shows well in a copy of this long side."""
        scale = long_side / max(frame.size)
        size = (max(8, round(frame.width * scale)), max(8, round(frame.height * scale)))
        small = frame.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        pixels = torch.from_numpy(np.asarray(small, np.float32) / 127.5 - 1.0)
        picture = F.pad(pixels.permute(2, 0, 1), (0, -size[0] % STRIDE, 0, -size[1] % STRIDE))
        seen = self._finder(picture[None])[0]
        likely = torch.sigmoid(seen[0])
        highest = F.max_pool2d(likely[None, None], 3, stride=1, padding=1)[0, 0]
        low, high = _HEIGHTS
        found = []
        for row, column in torch.nonzero((likely == highest) & (likely > SURE)).tolist():
            _, log_height, off_x, off_y, mouth_x, mouth_y = seen[:, row, column].tolist()
            tall = 2.0 ** float(np.clip(log_height, -3.0, 4.0)) * UNIT
            if (tall < low and long_side != LONG_SIDES[0]) or (
                tall > high and long_side != LONG_SIDES[-1]
            ):
                continue
            x, y = (column + 0.5 + off_x) * STRIDE / scale, (row + 0.5 + off_y) * STRIDE / scale
            tall /= scale
            sure = float(likely[row, column])
            found.append(Face(x, y, tall, x + mouth_x * tall, y + mouth_y * tall, sure))
        return found


def without_doubles(faces: list[Face]) -> list[Face]:
    """Of faces that lie on or in each other only the surest, the surest first.

    In each other: a mouth and a chin alone can look like a small face, too.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda each: -each.sure):
        if all(overlap(face, other) < 0.3 and covered(face, other) < 0.5 for other in kept):
            kept.append(face)
    return kept


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of the squares around two faces."""
    both = _both(one, other)
    return both / (one.height**2 + other.height**2 - both)


def covered(one: Face, other: Face) -> float:
    """How much of the smaller face's square is in the other's."""
    return _both(one, other) / min(one.height, other.height) ** 2


def _both(one: Face, other: Face) -> float:
    """Area of the intersection of the squares around two faces."""
    w = min(one.x + one.height / 2, other.x + other.height / 2)
    w -= max(one.x - one.height / 2, other.x - other.height / 2)
    h = min(one.y + one.height / 2, other.y + other.height / 2)
    h -= max(one.y - one.height / 2, other.y - other.height / 2)
    return max(w, 0.0) * max(h, 0.0)


def load_face_net(path: Path = WEIGHTS) -> FaceNet:
    tensors, config = read_model(path)
    config = {k: tuple(v) for k, v in config.items()}
    return load_into(FaceNet(FaceNetConfig(**config)), tensors, path)


def finding_quality(detector: FaceDetector, faces: "DrawnFaces") -> dict[str, float]:
    """How many of these faces are found alone, and how far off, in heights of the face."""
    off_place, off_height, off_mouth = [], [], []
    for frame, (x, y, height, mouth_x, mouth_y) in zip(faces.frames, faces.places, strict=True):
        found = detector.find(frame)
        if len(found) == 1:
            face = found[0]
            off_place.append(np.hypot(face.x - x, face.y - y) / height)
            off_height.append(abs(face.height / height - 1.0))
            off_mouth.append(np.hypot(face.mouth_x - mouth_x, face.mouth_y - mouth_y) / height)
    nothing = [float("nan")]
    return {
        "found_alone": round(len(off_place) / len(faces.frames), 3),
        "off_place": round(float(np.mean(off_place or nothing)), 3),
        "off_height": round(float(np.mean(off_height or nothing)), 3),
        "off_mouth": round(float(np.mean(off_mouth or nothing)), 3),
    }
