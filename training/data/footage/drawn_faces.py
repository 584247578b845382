"""Drawn faces with known places: what the face networks learn from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import CAST
from training.data.looks import LOOKS
from training.data.motions import draw_controls
from training.data.renderer import PortraitRenderer
from training.data.visemes import TARGETS
from training.portrait.action import read_action
from training.portrait.look import Look
from training.portrait.robot import MOUTH_Y
from training.portrait.scene import (
    CAMERA_DISTANCE,
    MIDDLE_Y,
    PIVOT,
    PIXELS_PER_UNIT,
    SHIFT_X,
    SHIFT_Y,
    rotation,
)

HELD_OUT = ("zuri", "finn")
"""Never shown to the face networks, so that they can be measured on strangers."""
_NOT_HUMAN = ("ember", "pixel")
_SURFACE = 7.0
"""How far lips and brows lie before the middle of the head, in units."""
_FOREHEAD = 5.5
"""Units from the eyes to the top of what counts as the face."""
_MIXED = ("skin", "eyes", "iris", "mouth", "brows", "clothes", "backdrop", "light", "beard")


@dataclass(frozen=True)
class DrawnFaces:
    """`frames` (N, S, S, 3) uint8; `mouths` (N, 3) open, wide, round; `places` (N, 5) in pixels:
    the face's middle x, y and height, the mouth's x, y.
    """

    frames: NDArray[np.uint8]
    mouths: NDArray[np.float32]
    places: NDArray[np.float32]

    def save(self, path: Path) -> None:
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, frames=self.frames, mouths=self.mouths, places=self.places)
        partial.rename(path)

    @staticmethod
    def load(path: Path) -> "DrawnFaces":
        with np.load(path) as arrays:
            return DrawnFaces(arrays["frames"], arrays["mouths"], arrays["places"])


def face_place(look: Look, movement: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """(5,) where the renderer puts a face: middle x, y, height, mouth x, y, in pixels.

    The face reaches from the forehead to the chin of the shut mouth; `movement` are the controls.
    """
    _, _, stance = read_action([0.0] * 5, movement)
    mouth_y = MOUTH_Y if look.robot else look.head.mouth_y
    top, bottom = look.eyes.y + _FOREHEAD, look.head.chin_y
    points = np.array([[0.0, y, _SURFACE] for y in (0.5 * (top + bottom), mouth_y)])
    shift = np.array([SHIFT_X * stance.shift_x, -SHIFT_Y * stance.shift_y, 0.0]) / PIXELS_PER_UNIT
    turned = (points - PIVOT) @ rotation(stance).T + PIVOT + shift
    scale = PIXELS_PER_UNIT * size / 256.0
    factor = scale * CAMERA_DISTANCE / (CAMERA_DISTANCE - turned[:, 2])
    x = 0.5 * size + turned[:, 0] * factor
    y = 0.5 * size + MIDDLE_Y * scale - turned[:, 1] * factor
    height = (top - bottom) * factor[0]
    return np.array([x[0], y[0], height, x[1], y[1]], np.float32)


def drawn_faces(look: Look, count: int, rng: np.random.Generator, size: int = 192) -> DrawnFaces:
    """`count` pictures of one look, each in another pose, a third of them with the mouth shut."""
    renderer = PortraitRenderer(look, size)
    targets = np.array(list(TARGETS.values()), np.float32)
    frames, mouths, places = [], [], []
    for _ in range(count):
        character = CAST[int(rng.integers(len(CAST)))]
        temperament = replace(character.temperament, smile=rng.uniform(0.0, 0.8))
        movement = draw_controls(rng, temperament, 1)[0]
        share = rng.dirichlet([0.6, 0.6, 0.6])
        mouth = share @ targets[rng.integers(0, len(targets), 3)]
        if rng.random() < 0.3:
            mouth = np.zeros(5, np.float32)
        frames.append(renderer.frame(mouth, movement))
        mouths.append(mouth[:3])
        places.append(face_place(look, movement, size))
    return DrawnFaces(
        np.stack(frames), np.stack(mouths).astype(np.float32), np.stack(places).astype(np.float32)
    )


def looks_to_learn(num_mixed: int, rng: np.random.Generator) -> Iterator[tuple[str, Look]]:
    """Every character but the held-out ones, then strangers mixed of their features."""
    known = [each.id for each in CAST if each.id not in HELD_OUT]
    for name in known:
        yield name, LOOKS[name]
    people = [LOOKS[name] for name in known if name not in _NOT_HUMAN]
    for index in range(num_mixed):
        mixed = people[int(rng.integers(len(people)))]
        for part in _MIXED:
            donor = people[int(rng.integers(len(people)))]
            mixed = replace(mixed, **{part: getattr(donor, part)})
        head = replace(
            mixed.head,
            face=mixed.head.face * rng.uniform(0.93, 1.08),
            jaw=mixed.head.jaw * rng.uniform(0.92, 1.1),
            nose_depth=mixed.head.nose_depth * rng.uniform(0.8, 1.15),
        )
        yield f"mixed-{index:02d}", replace(mixed, head=head, seed=1000 + index)


def make_drawn_faces(folder: Path, per_look: int, num_mixed: int, seed: int) -> Iterator[Path]:
    """Draw and save every look's faces, and the held-out ones'; finished files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((seed, 0))
    looks = [*looks_to_learn(num_mixed, rng), *((f"held-{k}", LOOKS[k]) for k in HELD_OUT)]
    for index, (name, look) in enumerate(looks):
        path = folder / f"{name}.npz"
        if not path.exists():
            drawn_faces(look, per_look, np.random.default_rng((seed, 1, index))).save(path)
        yield path
