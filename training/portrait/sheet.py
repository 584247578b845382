"""Contact sheets of drawn characters: `python -m training.portrait.sheet mira otto --out s.png`."""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatar.cast.characters import CAST, character_of
from avatar.cast.motion import CONTROL_NAMES, rest_controls
from training.data.looks import LOOKS
from training.data.motions import CHUNK_FRAMES, session_controls
from training.data.visemes import TARGETS
from training.portrait.renderer import PortraitRenderer

VISEMES = ("silence", "aa", "eh", "iy", "ow", "uw", "mbp", "fv", "th", "sz", "sh", "l")
POSES: tuple[dict[str, float], ...] = (
    {"blink": 0.5},
    {"blink": 1.0},
    {"gaze_x": 0.9},
    {"gaze_x": -0.7, "gaze_y": 0.8},
    {"yaw": 1.0},
    {"yaw": -1.0, "pitch": 0.6},
    {"pitch": -1.0},
    {"roll": 1.0},
    {"smile": 1.0},
    {"brow": 1.0},
    {"brow": -1.0, "smile": 0.0},
    {"tx": 1.0, "ty": 1.0},
)


def sheet(name: str, size: int, columns: int = 12) -> NDArray[np.uint8]:
    """Three rows: visemes, controls one by one, and consecutive frames of the sampler's motion."""
    character = character_of(name)
    renderer = PortraitRenderer(LOOKS[name], size)
    rest = rest_controls(character.temperament)
    chunks = -(-columns // CHUNK_FRAMES)
    moving = session_controls(character.seed, character.temperament, ["speaking"] * chunks)
    spoken = [renderer.frame(TARGETS[viseme], rest) for viseme in VISEMES]
    posed = []
    for pose in POSES:
        changed = rest.copy()
        for control, value in pose.items():
            changed[CONTROL_NAMES.index(control)] = value
        posed.append(renderer.frame(TARGETS["silence"], changed))
    swing = np.abs(np.sin(np.linspace(0.0, 2 * np.pi, columns)))
    shapes = swing[:, None] * np.array(TARGETS["ae"])
    flowing = [renderer.frame(shape, motion) for shape, motion in zip(shapes, moving, strict=False)]
    return np.vstack([np.hstack(row) for row in (spoken, posed, flowing)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("characters", nargs="*", default=[each.id for each in CAST])
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    pictures = [sheet(name, args.size) for name in args.characters]
    Image.fromarray(np.vstack(pictures)).save(args.out)


if __name__ == "__main__":
    main()
