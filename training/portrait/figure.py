"""What the renderer draws: anything with a face."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import Movement, Pose
from training.portrait.look import Look
from training.portrait.mesh import Mesh
from training.portrait.person import Person
from training.portrait.robot import Robot

Floats = NDArray[np.float32]


class Figure(Protocol):
    """Meshes in a fixed order: soft ones, whose normals change; other moving ones; rigid ones."""

    meshes: list[Mesh]
    materials: list[NDArray[np.int32]]
    """Of each mesh, (T,)."""
    num_soft: int
    num_moving: int
    """Soft ones among them."""
    borrowed: dict[int, NDArray[np.int64]]
    """Meshes lit like the points of the first mesh that they grow on, (V,)."""

    def move(self, pose: Pose, movement: Movement) -> list[Floats]:
        """New points of the first `num_moving` meshes."""
        ...

    def lit(self, baked: Floats, pose: Pose) -> Floats:
        """Open sky and key light (V, 2) of the soft meshes in this pose, from those at rest."""
        ...

    def eyes(
        self, pose: Pose, movement: Movement, turn: NDArray[np.float64], light: Floats
    ) -> tuple[Floats, Floats] | None:
        """See `eyes.eye_rows`; `turn` is the head's rotation."""
        ...


def figure_of(look: Look) -> Figure:
    return Robot(look) if look.robot else Person(look)
