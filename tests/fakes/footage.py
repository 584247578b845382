"""Small films with known pictures and sounds, without any renderer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.footage.detector import Face

FPS, SAMPLES_PER_FRAME = 25, 640


def numbered_frames(count: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """(count, height, width, 3): a bar whose place tells the frame, see `number_of`."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    for index in range(count):
        frames[index, :, 4 * (index % 20) + 8 : 4 * (index % 20) + 12] = 220
    return frames


def number_of(frame: NDArray[np.uint8]) -> int:
    """The number, modulo 20, of a frame of `numbered_frames`, as a codec left it."""
    light = frame.astype(float).mean(axis=(0, 2))[8:88].reshape(20, 4).mean(axis=1)
    return int(light.argmax())


def clicks(num_frames: int, at_frames: Sequence[int]) -> NDArray[np.float32]:
    """Silence with a short tone at the beginning of each of these frames."""
    sound = np.zeros(num_frames * SAMPLES_PER_FRAME, np.float32)
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(320) / 16_000).astype(np.float32)
    for frame in at_frames:
        sound[frame * SAMPLES_PER_FRAME :][:320] = tone
    return sound


def face_at(x: float, y: float, height: float = 40.0) -> Face:
    return Face(x, y, height, x, y + 0.28 * height, 0.9)
