"""Draws one character: a picture for a mouth shape and the movement controls."""

import numpy as np
from numpy.typing import NDArray

from training.portrait.action import Numbers, read_action
from training.portrait.backdrop import paint_backdrop
from training.portrait.develop import OVERSAMPLING, develop, exposed
from training.portrait.eye_shading import shade_eyes
from training.portrait.eyes import iris_texture
from training.portrait.figure import figure_of
from training.portrait.look import Look
from training.portrait.paint import skin_texture, strand_texture
from training.portrait.scene import CAMERA_DISTANCE, PICTURE, Scene, rotation
from training.portrait.shade import shade

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]


class PortraitRenderer:
    """Renders one look; holds its buffers, so it belongs to one thread."""

    def __init__(self, look: Look, size: int = PICTURE) -> None:
        self.look, self.size = look, size
        drawn = size * OVERSAMPLING
        self._lamps = look.light.rows(look.skin.subsurface)
        self._figure = figure_of(look)
        self._scene = Scene(self._figure, self._lamps, drawn)
        self._iris = iris_texture(look.seed)
        self._skin = skin_texture(look)
        self._strands = strand_texture()
        backdrop = paint_backdrop(look.backdrop, drawn, look.light.side, look.seed)
        self._backdrop = exposed(backdrop.astype(np.float64))
        self._colours = np.empty((drawn, drawn, 3), np.float32)
        self._moved: list[Floats] = []

    def frame(self, mouth: Numbers, controls: Numbers) -> Picture:
        """(size, size, 3) uint8 RGB of a mouth shape (5) and controls, see `read_action`."""
        pose, movement, stance = read_action(mouth, controls)
        figure, scene = self._figure, self._scene
        self._moved = figure.move(pose, movement)
        scene.pose(self._moved, stance, figure.lit(scene.baked, pose))
        shade(
            scene.owner,
            scene.weights,
            scene.triangles,
            scene.materials,
            scene.gloss,
            scene.attributes,
            self._lamps,
            self._skin,
            self._strands,
            self._backdrop,
            1.0 / (CAMERA_DISTANCE * scene.scale),
            self._colours,
        )
        eyes = figure.eyes(pose, movement, rotation(stance), self._lamps)
        if eyes is not None:
            shade_eyes(
                scene.owner,
                scene.weights,
                scene.triangles,
                scene.materials,
                scene.attributes,
                *eyes,
                self._iris,
                self._lamps,
                self._colours,
            )
        picture = np.empty((self.size, self.size, 3), np.uint8)
        develop(self._colours, picture)
        return picture

    def motion(self) -> Floats:
        """(32, 32, 2) float32 of the last frame: where each cell is when the figure stands still.

        Less where it is now, in pixels of a 256-pixel picture, x to the right and y down.
        """
        return self._scene.motion(self._moved)
