"""How well an avatar speaks held-out sentences: lips, and sharpness beside the drawn character."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import Character
from avatar.media import SPEECH_RATE
from avatar.render import Pipeline, speech_chunks
from avatar.timebase import ChunkClock
from training.data.motions import session_controls
from training.meters import READERS
from training.meters.lip_sync import (
    STILL_S,
    Box,
    MouthReading,
    SpokenClip,
    closed_mouth,
    judge,
    read_spoken_clips,
    see_mouth,
    show,
)
from training.meters.mouth_reader import load_mouth_reader
from training.meters.picture import Look, compare_videos, mean_look
from training.portrait.renderer import PortraitRenderer

SENTENCES = Path(__file__).resolve().parent.parent.parent / "tests" / "data" / "held_out"
NAMES = ("hibari-0", "hibari-1", "piper-0", "piper-1")
"""Sentences never trained on; piper's voice neither."""

Video = NDArray[np.uint8]


@dataclass(frozen=True)
class Figures:
    """Lips as `training.meters.lip_sync` reads them, sharpness over that of the drawn character."""

    correlation: float
    lag_ms: float
    width: float
    rounding: float
    amplitude_ratio: float
    rest_share: float
    eyes: float
    mouth: float
    mouth_fast: float

    @property
    def distance(self) -> float:
        """What is kept is what has less of this: missing lip sync, and wrong sharpness."""
        return 1 - self.correlation + abs(1 - self.eyes) + abs(1 - self.mouth)

    def figures(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Spoken:
    """One sentence, generated and drawn with the same movements: (T, 256, 256, 3) each."""

    clip: SpokenClip
    shown: Video
    real: Video


def sentences(names: Sequence[str] = NAMES) -> list[SpokenClip]:
    return [clip for clip in read_spoken_clips(SENTENCES) if clip.name in names]


def draw_sentence(
    renderer: PortraitRenderer,
    character: Character,
    clip: SpokenClip,
    seed: int,
    clock: ChunkClock,
    path: Path,
) -> Video:
    """What the sentence looks like when drawn; kept in `path`, and read from there again."""
    if not path.exists():
        behaviours = [chunk.behaviour for chunk in speech_chunks(clip.samples, clock)]
        moved = session_controls(seed, character.temperament, behaviours)
        drawn = [renderer.frame(m, c) for m, c in zip(clip.curves, moved, strict=False)]
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.stack(drawn))
        partial.rename(path)
    kept: Video = np.load(path, mmap_mode="r")
    return kept


def measure(
    pipeline: Pipeline,
    character: Character,
    portrait: Video,
    box: Box,
    clips: Sequence[SpokenClip],
    real: Sequence[Video],
    on_sentence: Callable[[], None] = lambda: None,
) -> tuple[Figures, list[Spoken]]:
    """Have the avatar say the sentences, and look at it."""
    reader = load_mouth_reader(READERS / "mouth_reader.safetensors")
    still = show(pipeline, np.zeros(SPEECH_RATE * STILL_S, np.float32), character.id)
    closed = closed_mouth(reader, still, box)
    readings, looks, spoken = list[MouthReading](), list[Look](), list[Spoken]()
    for number, (clip, drawn) in enumerate(zip(clips, real, strict=True)):
        shown = show(pipeline, clip.samples, character.id, seed=number)[: len(drawn)]
        readings.append(see_mouth(reader, shown, portrait, box, closed))
        looks.append(compare_videos(shown, drawn, box, pipeline.clock.frames_per_chunk))
        spoken.append(Spoken(clip, shown, drawn))
        on_sentence()
    lips, look = judge(readings, clips), mean_look(looks)
    return Figures(
        correlation=lips.correlation,
        lag_ms=lips.lag_ms,
        width=lips.width,
        rounding=lips.rounding,
        amplitude_ratio=lips.amplitude_ratio,
        rest_share=lips.rest_share,
        eyes=look.eyes,
        mouth=look.mouth,
        mouth_fast=look.mouth_fast,
    ), spoken
