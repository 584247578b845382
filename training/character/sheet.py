"""The preview sheet of an avatar: telling moments generated, the drawn ones below, and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.character.measure import Figures, Spoken, Video

FACE = (40, 40, 216, 232)
"""What is shown of a 256 picture: x0, y0, x1, y1."""
SCALE = 2
GAP, LINE = 6, 24


def telling_frames(spoken: Spoken) -> dict[str, int]:
    """At rest, most open, most rounded, most spread, and where the picture changes most."""
    mouth = spoken.clip.curves[: len(spoken.shown)]
    steps = np.abs(np.diff(spoken.real[::, ::4, ::4].astype(np.int16), axis=0)).mean((1, 2, 3))
    return {
        "at rest": int(mouth[:, 0].argmin()),
        "open": int(mouth[:, 0].argmax()),
        "rounded": int(mouth[:, 2].argmax()),
        "spread": int(mouth[:, 1].argmax()),
        "moving": int(steps.argmax()) + 1,
    }


def draw_sheet(
    name: str, figures: Mapping[str, Figures], spoken: Sequence[Spoken], kept: str
) -> Image.Image:
    """Two sentences, each generated above and drawn below; `figures` by what was measured."""
    rows = [(title, spoken[i], telling_frames(spoken[i])) for title, i in _two(spoken)]
    x0, y0, x1, y1 = FACE
    width, height = (x1 - x0) * SCALE, (y1 - y0) * SCALE
    columns = max(len(moments) for _, _, moments in rows)
    top = LINE * (2 + len(figures))
    sheet = Image.new(
        "RGB",
        (columns * (width + GAP) + GAP, top + len(rows) * (LINE + 2 * (height + GAP))),
        "white",
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    draw.text((GAP, 4), f"{name}: generated above, drawn below", "black", font)
    for line, (which, each) in enumerate(figures.items(), 1):
        mark = "  (kept)" if which == kept and len(figures) > 1 else ""
        draw.text((GAP, 4 + LINE * line), f"{which}: {told(each)}{mark}", "black", font)
    for title, sentence, moments in rows:
        for column, (moment, index) in enumerate(moments.items()):
            left = GAP + column * (width + GAP)
            draw.text((left, top + 2), f"{title}: {moment}", "black", font)
            for place, video in enumerate((sentence.shown, sentence.real)):
                at = (left, top + LINE + place * (height + GAP))
                sheet.paste(_tile(video, index, (width, height)), at)
        top += LINE + 2 * (height + GAP)
    return sheet


def told(figures: Figures) -> str:
    """A line for people."""
    return (
        f"lips {figures.correlation:.2f} at {figures.lag_ms:+.0f} ms, "
        f"range {figures.amplitude_ratio:.2f}, at rest {figures.rest_share:.0%}, "
        f"sharpness of eyes {figures.eyes:.2f}, mouth {figures.mouth:.2f}, "
        f"fast mouth {figures.mouth_fast:.2f}"
    )


def save_sheet(sheet: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def _two(spoken: Sequence[Spoken]) -> list[tuple[str, int]]:
    """The first sentence, and the last where there is another."""
    chosen = [0] if len(spoken) == 1 else [0, len(spoken) - 1]
    return [(spoken[i].clip.name, i) for i in chosen]


def _tile(video: Video, index: int, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(np.asarray(video[index])).crop(FACE)
    return picture.resize(size, Image.Resampling.BICUBIC)
