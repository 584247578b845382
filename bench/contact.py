"""What does it look like? Draws docs/demo.png: every avatar saying the same held-out sentence."""

import os

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from avatar.cast.characters import CAST, Character
from avatar.cast.profiles import PROFILES
from avatar.render import Pipeline, render_chunks
from bench.clips import clips
from bench.options import Options
from bench.results import Values
from scripts.contact_sheet import draw_label
from training.meters.lip_sync import SpokenClip, read_boxes
from training.meters.mouth_reader import MouthReader, load_mouth_reader, read_mouth
from training.meters.sync import measure_sync

CLIP = ("hibari", 0)
COLUMNS, TILE, GAP, TITLE_HEIGHT = 8, 160, 4, 28
BAR_WIDTH = 7
TRUE_COLOUR, READ_COLOUR = "limegreen", "orange"
FPS = 25


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    voice, number = CLIP
    clip = clips(voice, number + 1)[number]
    pipeline = Pipeline.load()
    reader = load_mouth_reader(PROFILES["tiny"].folder / "mouth_reader.safetensors")
    cast = CAST[: options.repetitions(len(CAST), 1)]
    columns = telling_frames(clip.curves[:, 0], COLUMNS)
    strips, correlations = [], {}
    for character in cast:
        strip, correlations[character.id] = draw_avatar(pipeline, reader, character, clip, columns)
        strips.append(strip)
    sheet = Image.new("RGB", (strips[0].width, sum(each.height for each in strips)), "white")
    for row, strip in enumerate(strips):
        sheet.paste(strip, (0, row * strip.height))
    sheet.save(options.picture, optimize=True)
    link = os.path.relpath(options.picture, options.folder)
    return {"link": link, "clip": clip.name, "correlations": correlations}


def telling_frames(opening: NDArray[np.float32], wanted: int) -> list[int]:
    """One frame of each of `wanted` equal parts: by turns the most open one and the most shut."""
    edges = np.linspace(0, len(opening), wanted + 1).round().astype(int)
    chosen = []
    for part, (start, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside = opening[start:end]
        chosen.append(int(start + (inside.argmin() if part % 2 else inside.argmax())))
    return chosen


def draw_avatar(
    pipeline: Pipeline,
    reader: MouthReader,
    character: Character,
    clip: SpokenClip,
    columns: list[int],
) -> tuple[Image.Image, float]:
    """Its frames with their times, below them its mouths; and the clip's correlation."""
    box = read_boxes()[character.id]
    frames = np.concatenate(
        [chunk.frames for chunk in render_chunks(pipeline, clip.samples, character.id)]
    )
    truth = clip.curves[:, 0]
    seen = read_mouth(reader, frames[: len(truth)], box)[:, 0]
    sync = measure_sync(seen, truth)
    mouth_height = round(TILE * (box[3] - box[1]) / (box[2] - box[0]))
    height = TITLE_HEIGHT + TILE + GAP + mouth_height + 2 * GAP
    strip = Image.new("RGB", (len(columns) * (TILE + GAP) + GAP, height), "white")
    draw = ImageDraw.Draw(strip)
    title = (
        f"{character.display_name}, generated from speech.  Bars: true opening of the mouth "
        f"(green), opening read from the frame (orange).  Correlation {sync.correlation:.2f}"
    )
    draw.text((GAP, 6), title, "black", ImageFont.load_default(14))
    for column, index in enumerate(columns):
        x, y = GAP + column * (TILE + GAP), TITLE_HEIGHT
        frame = Image.fromarray(frames[index])
        strip.paste(frame.resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y))
        draw_label(draw, (x, y), f"{index / FPS:.2f} s")
        below = y + TILE + GAP
        mouth = frame.resize((TILE, mouth_height), Image.Resampling.LANCZOS, box=box)
        strip.paste(mouth, (x, below))
        openings = ((truth[index], TRUE_COLOUR), (seen[index], READ_COLOUR))
        for bar, (opening, colour) in enumerate(openings):
            right = x + TILE - 2 - bar * (BAR_WIDTH + 1)
            top = below + mouth_height * (1 - float(np.clip(opening, 0.02, 1)))
            draw.rectangle((right - BAR_WIDTH, top, right, below + mouth_height - 1), colour)
    return strip, sync.correlation


def report(values: Values) -> str:
    told = ", ".join(f"{name} {each:.2f}" for name, each in values["correlations"].items())
    return (
        f"![Every avatar, saying the same sentence]({values['link']})\n\n"
        f"`{values['clip']}` of the held-out sentences; correlation of the opening with the truth: "
        f"{told}."
    )
