"""The avatars that are looked at: their truth, and the readers that look."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import character_of
from avatar.cast.profile import load_appearance
from avatar.media import AudioChunk
from avatar.render import Pipeline
from training.data.looks import LOOKS
from training.data.motions import CHUNK_FRAMES, session_controls
from training.data.renderer import PortraitRenderer
from training.meters import READERS
from training.meters.control_reader import ControlReader, load_control_reader
from training.meters.identity import Cells, Likeness, cells
from training.meters.lip_sync import Box, read_boxes
from training.meters.mouth_reader import MouthReader, load_mouth_reader
from training.meters.sync import Curve

REFERENCE_FRAMES, REFERENCE_STEP = 60, 25
"""How many real renders, and how far apart, make a character's mean picture."""

Video = NDArray[np.uint8]


@dataclass(frozen=True)
class Readers:
    mouth: MouthReader
    controls: ControlReader


def load_readers(folder: Path = READERS) -> Readers:
    return Readers(
        load_mouth_reader(folder / "mouth_reader.safetensors"),
        load_control_reader(folder / "control_reader.safetensors"),
    )


def movement(avatar: str, seed: int, chunks: Iterable[AudioChunk]) -> Curve:
    """What the score worker asks of the face while it makes these chunks, besides the mouth."""
    behaviours = [chunk.behaviour for chunk in chunks]
    return session_controls(seed, character_of(avatar).temperament, behaviours)


class Avatar:
    """One shipped avatar, and how it is really drawn."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.name = name
        self.box: Box = read_boxes()[name]
        self.portrait: Video = load_appearance(pipeline.score.profile, name).portrait

    @cached_property
    def renderer(self) -> PortraitRenderer:
        return PortraitRenderer(LOOKS[self.name])

    def render(self, mouth: Curve, moved: Curve) -> Video:
        """(T, 256, 256, 3): drawn with the first of these movements."""
        return np.stack([self.renderer.frame(m, c) for m, c in zip(mouth, moved, strict=False)])

    @cached_property
    def cells(self) -> Cells:
        """Of the mean real render."""
        temperament = character_of(self.name).temperament
        chunks = REFERENCE_FRAMES * REFERENCE_STEP // CHUNK_FRAMES
        moved = session_controls(0, temperament, ["speaking"] * chunks)[::REFERENCE_STEP]
        frames = [self.renderer.frame(np.zeros(5), each) for each in moved]
        return cells(np.mean(frames, axis=0))


def load_avatars(pipeline: Pipeline) -> dict[str, Avatar]:
    return {name: Avatar(pipeline, name) for name in sorted(read_boxes())}


def likeness(avatars: dict[str, Avatar], name: str) -> Likeness:
    own = avatars[name]
    others = {each.name: each.cells for each in avatars.values() if each is not own}
    return Likeness(own.cells, others, own.box)
