"""A photograph as a portrait: read within limits, one face in it, cut to a profile's picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from avatar.cast.faces import Face
from avatar.errors import InvalidInput, NotFound, TooLarge

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP")

SHARE = 0.38
"""Of the portrait's height that the face takes, forehead to chin, where the photograph allows."""
MOST_SHARE = 0.6
"""Where it shows less around the face: a head that turns and speaks needs room."""
PLACE = (0.5, 0.45)
"""Of the face's middle, from the left and from above."""
MAX_ENLARGED = 1.5
"""Times that the photograph's pixels may become larger."""
MAX_TILT = 20.0
"""Degrees."""
MAX_TURNED = 0.35
"""See `Face.turned`: at 0.35 a head is turned by some 25 degrees."""
SHARP = 0.12
"""Edges over contrast, of the face at `_SHARP_SIDE` pixels. Measured on 23 photographed faces:
0.15 to 0.48; blurred by 1 % of the face's height, 0.06 to 0.11; enlarged from 40 pixels, 0.07 to
0.13."""
_SHARP_SIDE = 128


@dataclass(frozen=True)
class Framed:
    """`pixels` is (height, width, 3) uint8; `face` its middle x, y and height, in those pixels."""

    pixels: NDArray[np.uint8]
    face: tuple[float, float, float]
    sharpness: float


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright.

    Raises:
        NotFound: There is no such file.
        TooLarge: It has more than `MAX_BYTES` or `MAX_PIXELS`.
        InvalidInput: It is no picture of `FORMATS`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TooLarge(f"{path} has {size} bytes, {MAX_BYTES} at most allowed: save it smaller")
        with Image.open(path, formats=FORMATS) as image:
            # known before the pixels are unpacked: a small file may hold very many
            if image.width * image.height > MAX_PIXELS:
                raise TooLarge(
                    f"{path} has {image.width} x {image.height} pixels, {MAX_PIXELS} at most "
                    "allowed: save it smaller"
                )
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                seen = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
            return np.asarray(upright.convert("RGB"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except TooLarge:
        raise
    except (
        UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError
    ) as error:  # fmt: skip
        kinds = ", ".join(FORMATS)
        raise InvalidInput(f"{path} cannot be read as a picture ({kinds}): {error}") from error


def frame(picture: NDArray[np.uint8], faces: list[Face], height: int, width: int) -> Framed:
    """Cut a portrait of `height` x `width` around the one face.

    Raises:
        InvalidInput: There is no face or another near it, it is too small, at the edge, turned,
            tilted or not sharp; the message holds what was found, what is allowed and what helps.
    """
    face = the_one(faces)
    if abs(face.tilt) > MAX_TILT:
        raise InvalidInput(
            f"the face is tilted by {face.tilt:.0f} degrees, {MAX_TILT:.0f} at most allowed: "
            "turn the picture upright"
        )
    if abs(face.turned) > MAX_TURNED:
        raise InvalidInput(
            f"the face looks away (nose {abs(face.turned):.2f} off the middle of the eyes, "
            f"{MAX_TURNED} at most allowed): take a picture that looks into the camera"
        )
    left, top, tall = square_around(face, picture.shape[:2], width / height)
    scale = height / tall
    if scale > MAX_ENLARGED:
        needed = face.height * scale / MAX_ENLARGED
        raise InvalidInput(
            f"the face is {face.height:.0f} pixels high, {needed:.0f} needed for portraits of "
            f"{width} x {height}: take a larger picture, or one from nearer"
        )
    near = [other for other in faces if other is not face]
    if any(_is_within(each, left, top, tall, width / height) for each in near):
        raise InvalidInput(f"{len(faces)} faces are close together: cut the picture to one of them")
    sharpness = sharpness_of(picture, face)
    if sharpness < SHARP:
        raise InvalidInput(
            f"the face is not sharp ({sharpness:.2f}, at least {SHARP} needed): "
            "take a sharper picture, and do not enlarge it"
        )
    box = (left, top, left + tall * width / height, top + tall)
    cut = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, box=box)
    place = ((face.x - left) * scale, (face.y - top) * scale, face.height * scale)
    return Framed(np.asarray(cut), place, sharpness)


def the_one(faces: list[Face]) -> Face:
    """The face that the portrait is of: no other is half as high as it."""
    if not faces:
        raise InvalidInput(
            "no face was found: take a picture of one person who looks into the camera, in good "
            "light"
        )
    first, *others = sorted(faces, key=lambda each: -each.height)
    similar = [each for each in others if each.height >= 0.5 * first.height]
    if similar:
        raise InvalidInput(f"{len(similar) + 1} faces were found: cut the picture to one of them")
    return first


def square_around(face: Face, size: tuple[int, ...], aspect: float) -> tuple[float, float, float]:
    """Left, top and height, in the photograph, of a cut that is `aspect` times as wide as high."""
    picture_height, picture_width = size
    tall = min(face.height / SHARE, picture_height, picture_width / aspect)
    if face.height > MOST_SHARE * tall:
        raise InvalidInput(
            f"the face takes {face.height / tall:.0%} of the picture's height, {MOST_SHARE:.0%} at "
            "most allowed: take a picture that shows more around it"
        )
    wide = tall * aspect
    left = float(np.clip(face.x - PLACE[0] * wide, 0, picture_width - wide))
    top = float(np.clip(face.y - PLACE[1] * tall, 0, picture_height - tall))
    half = 0.5 * face.height
    room = (face.x - half - left, left + wide - face.x - half, face.y - half - top,
            top + tall - face.y - half)  # fmt: skip
    if min(room) < 0:
        raise InvalidInput("the face is at the picture's edge: take one that shows all of the head")
    return left, top, tall


def sharpness_of(picture: NDArray[np.uint8], face: Face) -> float:
    """How strong edges are, in contrasts, where the face is; independent of light and size."""
    half = 0.5 * face.height
    box = [round(each) for each in (face.x - half, face.y - half, face.x + half, face.y + half)]
    left, top = max(box[0], 0), max(box[1], 0)
    cut = Image.fromarray(picture[top : max(box[3], top + 1), left : max(box[2], left + 1)])
    small = cut.convert("L").resize((_SHARP_SIDE, _SHARP_SIDE), Image.Resampling.LANCZOS)
    grey = np.asarray(small, np.float32) / 255.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges = around - 4.0 * grey[1:-1, 1:-1]
    return float(edges.std() / max(float(grey.std()), 1e-3))


def _is_within(face: Face, left: float, top: float, tall: float, aspect: float) -> bool:
    return left <= face.x <= left + tall * aspect and top <= face.y <= top + tall
