"""The contact sheet: every avatar's telling moments at twice their size, the real ones below."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.meters.control_reader import CONTROLS
from training.meters.sync import FPS, Curve

Picture = NDArray[np.uint8]
FACE = (40, 40, 216, 232)
"""What is shown of a 256 picture: x0, y0, x1, y1."""
SCALE = 2
GAP, TITLE_HEIGHT = 4, 26
QUALITY = 88


@dataclass(frozen=True)
class Row:
    """Moments by name: the generated frame and the real one, (256, 256, 3) each."""

    moments: Mapping[str, tuple[Picture, Picture]]


def telling_row(shown: Picture, real: Picture, mouth: Curve, controls: Curve) -> Row:
    """The moments of a clip, (T, 256, 256, 3) twice, that its (T, 5) mouth and controls tell of."""
    chosen = telling_frames(mouth, controls)
    return Row(
        {
            f"{name}, {index / FPS:.2f} s": (shown[index].copy(), real[index].copy())
            for name, index in chosen.items()
        }
    )


def telling_frames(mouth: Curve, controls: Curve) -> dict[str, int]:
    """Speaking (most open, most rounded), a blink, a look aside with open lids, the end at rest."""
    lids = controls[:, CONTROLS.index("blink")]
    aside = np.abs(controls[:, CONTROLS.index("gaze_x")]) - 2 * lids
    return {
        "speaking": int(mouth[:, 0].argmax()),
        "rounded": int(mouth[:, 2].argmax()),
        "blink": int(lids.argmax()),
        "look aside": int(aside.argmax()),
        "rest": len(mouth) - 1,
    }


def draw_sheet(
    rows: Mapping[str, Row], later: Mapping[str, tuple[Picture, Picture]]
) -> Image.Image:
    """`later` are frames after the long rollout, shown last where there are any.

    Raises:
        ValueError: There is no row.
    """
    if not rows:
        raise ValueError("a sheet needs a row at least")
    strips = []
    for name, row in rows.items():
        moments = dict(row.moments)
        if name in later:
            moments["after the rollout"] = later[name]
        strips.append(draw_row(name, moments))
    width = max(each.width for each in strips)
    sheet = Image.new("RGB", (width, sum(each.height for each in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def draw_row(name: str, moments: Mapping[str, tuple[Picture, Picture]]) -> Image.Image:
    """Generated frames above, real ones below, titles over them."""
    x0, y0, x1, y1 = FACE
    width, height = (x1 - x0) * SCALE, (y1 - y0) * SCALE
    strip = Image.new(
        "RGB", (len(moments) * (width + GAP) + GAP, TITLE_HEIGHT + 2 * (height + GAP)), "white"
    )
    draw = ImageDraw.Draw(strip)
    for column, (title, pictures) in enumerate(moments.items()):
        left = GAP + column * (width + GAP)
        draw.text((left, 5), f"{name}: {title}", "black", ImageFont.load_default(15))
        for place, picture in enumerate(pictures):
            tile = Image.fromarray(picture).crop(FACE)
            big = tile.resize((width, height), Image.Resampling.BICUBIC)
            strip.paste(big, (left, TITLE_HEIGHT + place * (height + GAP)))
    return strip


def save_sheet(sheet: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=QUALITY, optimize=True)
