"""Real renders of a held-out sentence, and ways to damage them that each meter has to find."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]  # scipy has no stubs

from avatar.cast.characters import character_of
from avatar.cast.motion import CONTROL_NAMES
from training.data.looks import LOOKS
from training.data.motions import CHUNK_FRAMES, session_controls
from training.data.renderer import PortraitRenderer, mouth_box, portrait_by
from training.meters.lip_sync import Box

DATA = Path(__file__).parent.parent / "data" / "held_out"
FIRST = 30
"""Where the frames begin in the sentence: its middle has speech throughout."""
MOVES_FROM = 36
"""In the next 60 frames the eyes blink once and jump once."""
Video = NDArray[np.uint8]
Curve = NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """`frames` (T, 256, 256, 3) with the (T, 5) mouth and the (T, controls) that made them."""

    frames: Video
    portrait: Video
    box: Box
    mouth: Curve
    controls: Curve


@cache
def renderer_of(name: str) -> PortraitRenderer:
    return PortraitRenderer(LOOKS[name])


@cache
def rendered(name: str = "mira", num_frames: int = 60, iris_wobble: float = 0.0) -> Rendered:
    """A character saying part of a sentence; with `iris_wobble` its eyes jitter by as much."""
    with np.load(DATA / "hibari-0.npz") as truth:
        mouth = truth["curves"][FIRST : FIRST + num_frames]
    chunks = -(-(MOVES_FROM + num_frames) // CHUNK_FRAMES)
    session = session_controls(7, character_of(name).temperament, ["speaking"] * chunks)
    moved = session[MOVES_FROM : MOVES_FROM + num_frames]
    drawn = moved.copy()
    jitter = np.random.default_rng(1).choice([-1.0, 1.0], (num_frames, 2)).astype(np.float32)
    drawn[:, [CONTROL_NAMES.index("gaze_x"), CONTROL_NAMES.index("gaze_y")]] += iris_wobble * jitter
    renderer = renderer_of(name)
    frames = np.stack([renderer.frame(m, c) for m, c in zip(mouth, drawn, strict=True)])
    return Rendered(frames, portrait_by(renderer), mouth_box(LOOKS[name]), mouth, moved)


def blurred(frames: Video, sigma: float = 0.8) -> Video:
    soft = gaussian_filter(frames.astype(np.float32), (0, sigma, sigma, 0))
    return np.rint(soft).astype(np.uint8)


def late(frames: Video, count: int) -> Video:
    """Every frame shown `count` frames later."""
    return np.concatenate([np.repeat(frames[:1], count, axis=0), frames[: len(frames) - count]])


def frozen(frames: Video) -> Video:
    return np.repeat(frames[:1], len(frames), axis=0)


def tinted(frames: Video, levels: int = 2) -> Video:
    return np.clip(frames.astype(np.int16) + levels, 0, 255).astype(np.uint8)


def noisy(frames: Video, deviation: float = 2.0) -> Video:
    noise = np.random.default_rng(2).normal(0, deviation, frames.shape)
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


def jumping(frames: Video, frames_per_chunk: int = 12, pixels: int = 1) -> Video:
    """Every other chunk lies a little to the right."""
    shifted = frames.copy()
    for start in range(frames_per_chunk, len(frames), 2 * frames_per_chunk):
        chunk = slice(start, start + frames_per_chunk)
        shifted[chunk] = np.roll(frames[chunk], pixels, axis=2)
    return shifted


def smeared(frames: Video) -> Video:
    """Each frame the mean of itself and its neighbours in time."""
    padded = np.concatenate([frames[:1], frames, frames[-1:]]).astype(np.uint16)
    mean: Video = ((padded[:-2] + padded[1:-1] + padded[2:]) // 3).astype(np.uint8)
    return mean
