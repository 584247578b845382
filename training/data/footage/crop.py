"""The square around a face, steady over a clip and framed as the portraits are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatar.cast.faces import face_pixels, touched
from training.data.footage.tracks import HEIGHT, MOUTH_X, MOUTH_Y, FaceTrack, X, Y

FACE_SHARE = 0.53
"""Height of the face in the square; the drawn portraits' mean."""
FACE_Y = 0.512
"""Where its middle lies in the square, from above."""
_BEYOND = 0.08
"""Of its side the square may be moved, so that it lies within the picture."""
_WANDER = 0.3
"""Heights of the face that its middle may go from the median."""
_BREATHE = 0.2
"""Share by which its height may change."""
_MOUTH_BOX = (96, 80, 8)
"""Width, height, and how far below the mouth the middle lies, in pixels of 256."""


@dataclass(frozen=True)
class Square:
    """In the video's pixels."""

    left: float
    top: float
    side: float


@dataclass(frozen=True)
class Refusal:
    reason: str


def square_for(
    track: FaceTrack,
    others: list[FaceTrack],
    start: int,
    end: int,
    frame_size: tuple[int, int],
    min_face: float,
) -> Square | Refusal:
    """The square for the frames [start, end) of a track, or why there is none.

    Args:
        track: The face.
        others: Faces that may not be in the square.
        start: First frame.
        end: First frame after.
        frame_size: Width and height of the video.
        min_face: Pixels; smaller faces are refused.
    """
    places = track.during(start, end)
    x, y, height = (float(np.median(places[:, i])) for i in (X, Y, HEIGHT))
    if height < min_face:
        return Refusal("face_too_small")
    wander = np.hypot(places[:, X] - x, places[:, Y] - y).max() / height
    if wander > _WANDER or np.abs(places[:, HEIGHT] / height - 1.0).max() > _BREATHE:
        return Refusal("face_moves_too_much")
    side = height / FACE_SHARE
    left, top = x - 0.5 * side, y - FACE_Y * side
    width, tall = frame_size
    inside_left = float(np.clip(left, 0.0, max(width - side, 0.0)))
    inside_top = float(np.clip(top, 0.0, max(tall - side, 0.0)))
    moved = max(abs(inside_left - left), abs(inside_top - top))
    if moved > _BEYOND * side or side > min(width, tall) * (1.0 + _BEYOND):
        return Refusal("face_at_the_edge")
    square = Square(inside_left, inside_top, side)
    for other in others:
        first, last = max(start, other.start), min(end, other.end)
        if first < last and _is_in(square, other.during(first, last)):
            return Refusal("another_face_in_the_square")
    return square


def cut_square(frame: NDArray[np.uint8], square: Square, size: int) -> NDArray[np.uint8]:
    """(size, size, 3); a square a little larger than the picture is cut off at its edges."""
    height, width = frame.shape[:2]
    right = min(square.left + square.side, float(width))
    bottom = min(square.top + square.side, float(height))
    box = (max(square.left, 0.0), max(square.top, 0.0), right, bottom)
    picture = Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(picture)


def in_square(places: NDArray[np.float32], square: Square, size: int) -> NDArray[np.float32]:
    """Places of a track as pixels of the cut."""
    scale = size / square.side
    moved = places * scale
    moved[:, [X, MOUTH_X]] -= square.left * scale
    moved[:, [Y, MOUTH_Y]] -= square.top * scale
    return moved.astype(np.float32)


def face_tokens(places: NDArray[np.float32], size: int, tokens: int) -> NDArray[np.uint8]:
    """(tokens * tokens,): 1 where a token touches the face in any frame; places in the cut.

    The ellipse of the drawn characters' face masks: room for the jaw to open is below.
    """
    covered = np.zeros((size // 2, size // 2), bool)
    for x, y, height in np.unique(np.round(places[:, [X, Y, HEIGHT]]), axis=0):
        covered |= face_pixels((x, y, height), (size, size))
    return touched(covered, (tokens, tokens)).astype(np.uint8).ravel()


def mouth_box(places: NDArray[np.float32], size: int) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) in the cut that holds the mouth, as large as the drawn characters' is."""
    width, height, below = (each * size / 256.0 for each in _MOUTH_BOX)
    x, y = (float(np.median(places[:, i])) for i in (MOUTH_X, MOUTH_Y))
    x0 = round(float(np.clip(x - width / 2, 0, size - width)))
    y0 = round(float(np.clip(y + below - height / 2, 0, size - height)))
    return x0, y0, x0 + round(width), y0 + round(height)


def _is_in(square: Square, places: NDArray[np.float32]) -> bool:
    inside = (
        (places[:, X] > square.left)
        & (places[:, X] < square.left + square.side)
        & (places[:, Y] > square.top)
        & (places[:, Y] < square.top + square.side)
    )
    return bool(inside.any())
