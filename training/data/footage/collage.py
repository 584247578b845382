"""Collages of drawn faces at any scale on any ground, with the map that the finder should make."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.footage.drawn_faces import DrawnFaces
from training.data.footage.face_net import STRIDE, UNIT

Picture = NDArray[np.float32]
SIZE = 192
_FACE_HEIGHTS = (14.0, 170.0)
_PORTRAIT_SHARE = 0.58
"""Height of a face in its portrait, about."""


@dataclass(frozen=True)
class Collage:
    """`picture` (SIZE, SIZE, 3) in [0, 1]; `truth` (7, h, w): 1 where a face's middle is, 0
    elsewhere, between where it matters little; the finder's five other channels; the weight of
    the first.
    """

    picture: Picture
    truth: NDArray[np.float32]


def collage(faces: DrawnFaces, rng: np.random.Generator) -> Collage:
    """Up to three portraits; a later one may hide part of an earlier one, and then replaces it."""
    picture = ground(rng)
    placed: list[tuple[NDArray[np.float32], tuple[float, float, float, float]]] = []
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.05, 0.45, 0.35, 0.15]))):
        index = int(rng.integers(len(faces.frames)))
        low, high = np.log(_FACE_HEIGHTS)
        side = float(np.exp(rng.uniform(low, high))) / _PORTRAIT_SHARE
        size = len(faces.frames[index])
        place = faces.places[index] * (side / size)
        # the face's middle stays in the picture, whatever happens to its shoulders
        left = rng.uniform(0.1 * SIZE, 0.9 * SIZE) - place[0]
        top = rng.uniform(0.1 * SIZE, 0.9 * SIZE) - place[1]
        place = place + np.array([left, top, 0.0, left, top], np.float32)
        box = (left, top, left + side, top + side)
        if any(_covers(box, old) for old, _ in placed):
            continue
        portrait = coloured(faces.frames[index], rng)
        paste(picture, portrait, box, rounded=rng.random() < 0.5)
        placed.append((place.astype(np.float32), box))
    truth = truth_of([place for place, _ in placed])
    if rng.random() < 0.5:  # mirrored
        picture = picture[:, ::-1]
        truth = truth[:, :, ::-1].copy()
        truth[[2, 4]] *= -1.0
    if rng.random() < 0.4:
        picture = _blurred(picture, int(rng.integers(2, 4)))
    noisy = picture + rng.normal(0.0, rng.uniform(0.0, 0.03), picture.shape)
    return Collage(np.clip(noisy, 0.0, 1.0).astype(np.float32), truth)


def truth_of(places: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(7, SIZE / 8, SIZE / 8), see `Collage`; places as in `DrawnFaces`."""
    cells = SIZE // STRIDE
    truth = np.zeros((7, cells, cells), np.float32)
    truth[6] = 1.0
    for x, y, height, mouth_x, mouth_y in places:
        column, row = x / STRIDE - 0.5, y / STRIDE - 0.5
        reach = max(0.6, 0.10 * height / STRIDE)
        rows, columns = np.mgrid[0:cells, 0:cells]
        distance = np.hypot(rows - row, columns - column)
        nearest = distance <= max(reach, distance.min() + 1e-6)
        truth[0][nearest] = 1.0
        truth[6][(distance < 2.5 * reach + 1.0) & (truth[0] == 0)] = 0.1
        truth[1][nearest] = np.log2(height / UNIT)
        truth[2][nearest] = column - columns[nearest]
        truth[3][nearest] = row - rows[nearest]
        truth[4][nearest] = (mouth_x - x) / height
        truth[5][nearest] = (mouth_y - y) / height
    return truth


def coloured(frame: NDArray[np.uint8], rng: np.random.Generator) -> Picture:
    """The same picture under another light: gains, contrast, gamma, less colour."""
    picture = frame.astype(np.float32) / 255.0
    gray = picture.mean(axis=-1, keepdims=True)
    picture = gray + rng.uniform(0.2, 1.3) * (picture - gray)
    picture = picture * rng.uniform(0.75, 1.25, 3).astype(np.float32) * rng.uniform(0.6, 1.25)
    picture = np.clip(picture, 0.0, 1.0) ** rng.uniform(0.7, 1.4)
    return np.asarray(picture, np.float32)


def ground(rng: np.random.Generator) -> Picture:
    """Soft shapes and edges of random colours: what a face is not."""
    coarse = int(rng.integers(2, 12))
    cells = rng.uniform(0.0, 1.0, (coarse, coarse, 3))
    smooth = rng.random() < 0.6
    kind = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    picture = _resized(cells.astype(np.float32), SIZE, kind)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    for _ in range(int(rng.integers(0, 7))):  # blobs, some of them as large as a face
        radius = rng.uniform(5.0, 60.0, 2)
        middle = rng.uniform(0.0, SIZE, 2)
        inside = ((x - middle[0]) / radius[0]) ** 2 + ((y - middle[1]) / radius[1]) ** 2 < 1.0
        picture[inside] = rng.uniform(0.0, 1.0, 3) * (0.8 + 0.2 * rng.random())
    return np.clip(picture, 0.0, 1.0)


def paste(
    picture: Picture,
    portrait: Picture,
    box: tuple[float, float, float, float],
    *,
    rounded: bool,
) -> None:
    """Lay a square portrait over `box` (x0, y0, x1, y1), in place; rounded without its corners."""
    left, top = round(box[0]), round(box[1])
    side = max(8, round(box[2] - box[0]))
    small = _resized(
        portrait, side, Image.Resampling.BOX if side < 192 else Image.Resampling.BICUBIC
    )
    v, u = (np.mgrid[0:side, 0:side] + 0.5) / side - 0.5
    # without the corners, where a portrait shows its own ground
    soft = np.clip((0.47 - np.hypot(u * 1.15, np.minimum(v, 0.0))) * 12.0, 0.0, 1.0)
    opacity = (soft if rounded else np.ones_like(soft))[..., None]
    y0, y1, x0, x1 = max(top, 0), min(top + side, SIZE), max(left, 0), min(left + side, SIZE)
    here = (slice(y0, y1), slice(x0, x1))
    there = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    picture[here] += opacity[there] * (small[there] - picture[here])


def _covers(box: tuple[float, float, float, float], place: NDArray[np.float32]) -> bool:
    x, y, half = place[0], place[1], 0.6 * place[2]
    return bool(box[0] < x + half and box[2] > x - half and box[1] < y + half and box[3] > y - half)


def _resized(picture: Picture, side: int, kind: Image.Resampling) -> Picture:
    pixels = Image.fromarray((np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8))
    return np.asarray(pixels.resize((side, side), kind), np.float32) / 255.0


def _blurred(picture: Picture, factor: int) -> Picture:
    small = _resized(picture, SIZE // factor, Image.Resampling.BOX)
    return _resized(small, SIZE, Image.Resampling.BILINEAR)
