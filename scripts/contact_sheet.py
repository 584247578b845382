"""Draws a contact sheet of videos: frames with their times, the mouth close up, the loudness.

python scripts/contact_sheet.py a.mp4 b.mp4 --out sheet.png
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 8
TILE = 192
STRIP_HEIGHT = 48
TITLE_HEIGHT = 30
GAP = 4
MAP_SIZE = 64
MOUTH_SIDE = 0.3
SYLLABLE_FRAMES = 7
QUIET_DB, LOUD_DB = -60.0, 0.0

Box = tuple[float, float, float, float]
"""left, top, right, bottom as fractions of the picture."""
WHERE_MOUTHS_ARE: Box = (0.2, 0.4, 0.8, 0.95)


@dataclass(frozen=True)
class Clip:
    """What the sheet shows of one video.

    Attributes:
        pictures: `COLUMNS` frames or fewer, evenly spread, with their times in seconds.
        loudness_db: (F,) of each frame of video.
        mouth: Where the mouth is.
    """

    path: Path
    frame_rate: float
    num_frames: int
    pictures: list[tuple[float, Image.Image]]
    loudness_db: NDArray[np.float64]
    mouth: Box


def read_clip(path: Path, mouth: Box | None = None) -> Clip:
    """Decodes a video once, keeping the frames to show and a small grey map of each.

    Raises:
        OSError: If the file cannot be read, or is no video.
    """
    try:
        with av.open(str(path), "r") as container:
            num_frames = sum(packet.size > 0 for packet in container.demux(video=0))
        with av.open(str(path), "r") as container:
            stream = container.streams.video[0]
            frame_rate = float(stream.average_rate or 25)
            chosen = set(spread(num_frames, COLUMNS))
            pictures, maps = [], []
            for index, frame in enumerate(container.decode(stream)):
                if index in chosen:
                    pictures.append(
                        (index / frame_rate, Image.fromarray(frame.to_ndarray(format="rgb24")))
                    )
                small = frame.reformat(MAP_SIZE, MAP_SIZE, "gray", interpolation="AREA")
                maps.append(small.to_ndarray())
    except (av.FFmpegError, IndexError) as error:
        raise OSError(f"{path} is no video that can be read: {error}") from error
    if not maps:
        raise OSError(f"{path} holds no frame of video")
    loudness_db = loudness_of_frames(path, len(maps), frame_rate)
    mouth = mouth or find_mouth(np.stack(maps).astype(np.float64), loudness_db)
    return Clip(path, frame_rate, len(maps), pictures, loudness_db, mouth)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` indices below `count`, each in the middle of its share."""
    wanted = min(wanted, count)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def loudness_of_frames(path: Path, num_frames: int, frame_rate: float) -> NDArray[np.float64]:
    """RMS of the sound during each frame, in dB of full scale; -inf where there is none."""
    rate = 48_000
    per_frame = round(rate / frame_rate)
    sound = np.zeros(num_frames * per_frame)
    with av.open(str(path), "r") as container:
        if container.streams.audio:
            resampler = av.AudioResampler("flt", "mono", rate)
            for frame in (*container.decode(audio=0), None):
                for piece in resampler.resample(frame):
                    start = round((piece.time or 0.0) * rate)
                    room = sound[start : start + piece.samples]
                    room[:] = piece.to_ndarray()[0, : len(room)]
    power = np.square(sound).reshape(num_frames, per_frame).mean(axis=1)
    with np.errstate(divide="ignore"):
        loudness: NDArray[np.float64] = 10 * np.log10(power)
    return loudness


def find_mouth(maps: NDArray[np.float64], loudness_db: NDArray[np.float64]) -> Box:
    """Where the picture changes with the loudness: the square in the lower middle that does most.

    Where the loudness says nothing, the square that changes most.

    Args:
        maps: (F, MAP_SIZE, MAP_SIZE), grey.
        loudness_db: (F,).
    """
    loud = without_drift(np.clip(loudness_db, QUIET_DB, LOUD_DB))
    changes = without_drift(maps)
    if np.ptp(loud) > 1.0:
        score = np.abs(np.einsum("f,fyx->yx", loud, changes))
    else:
        score = changes.std(axis=0)
    side = round(MOUTH_SIDE * MAP_SIZE)
    sums = np.pad(score.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    left, top, right, bottom = (round(edge * MAP_SIZE) for edge in WHERE_MOUTHS_ARE)
    allowed = squares[top : bottom - side + 1, left : right - side + 1]
    row, column = np.unravel_index(int(allowed.argmax()), allowed.shape)
    y, x = top + int(row), left + int(column)
    inside = score[y : y + side, x : x + side]
    y += round(float(np.average(np.arange(side), weights=inside.sum(axis=1))) - side / 2)
    x += round(float(np.average(np.arange(side), weights=inside.sum(axis=0))) - side / 2)
    return x / MAP_SIZE, y / MAP_SIZE, (x + side) / MAP_SIZE, (y + side) / MAP_SIZE


def without_drift(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Less their moving mean: the head moves with phrases, the mouth with syllables."""
    half = SYLLABLE_FRAMES // 2
    around = [(half, half)] + [(0, 0)] * (values.ndim - 1)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(values, around, mode="edge"), SYLLABLE_FRAMES, axis=0
    )
    fast: NDArray[np.float64] = values - windows.mean(axis=-1)
    return fast


def draw_sheet(clips: list[Clip]) -> Image.Image:
    width = COLUMNS * (TILE + GAP) + GAP
    height = TITLE_HEIGHT + 2 * (TILE + GAP) + STRIP_HEIGHT + GAP
    sheet = Image.new("RGB", (width, height * len(clips)), "white")
    for row, clip in enumerate(clips):
        sheet.paste(draw_clip(clip, width, height), (0, row * height))
    return sheet


def draw_clip(clip: Clip, width: int, height: int) -> Image.Image:
    """Its title, its frames, its mouths, its loudness, one below the other."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    length_s = clip.num_frames / clip.frame_rate
    title = (
        f"{clip.path.name}   {clip.num_frames} frames, {clip.frame_rate:g} fps, {length_s:.2f} s"
    )
    draw.text((GAP, 6), title, "black", ImageFont.load_default(16))
    for column, (time_s, frame) in enumerate(clip.pictures):
        x, y = GAP + column * (TILE + GAP), TITLE_HEIGHT
        picture.paste(frame.resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y))
        draw_label(draw, (x, y), f"{time_s:.2f} s")
        picture.paste(close_up(frame, clip.mouth), (x, y + TILE + GAP))
    draw_loudness(draw, clip, top=height - STRIP_HEIGHT - GAP, width=width)
    return picture


def draw_label(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str) -> None:
    font = ImageFont.load_default(14)
    at = (corner[0] + 4, corner[1] + 3)
    draw.rectangle(draw.textbbox(at, text, font), "white")
    draw.text(at, text, "black", font)


def close_up(frame: Image.Image, mouth: Box) -> Image.Image:
    left, top, right, bottom = mouth
    box = (left * frame.width, top * frame.height, right * frame.width, bottom * frame.height)
    return frame.resize((TILE, TILE), Image.Resampling.LANCZOS, box=box)


def draw_loudness(draw: ImageDraw.ImageDraw, clip: Clip, top: int, width: int) -> None:
    """A bar for each frame, from -60 dB to 0 dB, and a line where a frame above was taken."""
    heights = (np.clip(clip.loudness_db, QUIET_DB, LOUD_DB) - QUIET_DB) / (LOUD_DB - QUIET_DB)
    step = (width - 2 * GAP) / clip.num_frames
    for index, share in enumerate(heights):
        x = GAP + index * step
        bottom = top + STRIP_HEIGHT
        draw.rectangle((x, bottom - share * STRIP_HEIGHT, x + step, bottom), "steelblue")
    for time_s, _ in clip.pictures:
        x = GAP + (time_s * clip.frame_rate + 0.5) * step
        draw.line((x, top, x, top + STRIP_HEIGHT), "crimson")


def write_sheet(videos: list[Path], out: Path, mouth: Box | None = None) -> None:
    draw_sheet([read_clip(path, mouth) for path in videos]).save(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="any video file")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument(
        "--mouth",
        type=_box,
        metavar="L,T,R,B",
        help="where the mouth is, as fractions; else where the picture follows the sound",
    )
    options = parser.parse_args()
    try:
        write_sheet(options.videos, options.out, options.mouth)
    except OSError as error:
        print(f"contact_sheet: {error}", file=sys.stderr)
        return 1
    return 0


def _box(text: str) -> Box:
    left, top, right, bottom = (float(part) for part in text.split(","))
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(text)
    return left, top, right, bottom


if __name__ == "__main__":
    sys.exit(main())
