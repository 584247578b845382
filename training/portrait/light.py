"""The lamps of a portrait, as rows of one array that compiled code reads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEY, KEY_RGB, KEY_HALF, FILL, FILL_RGB, RIM, RIM_LEFT, RIM_RGB, SKY, GROUND, SUBSURFACE = range(11)

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """Directions point to the lamp. `side` -1 sets the key light to the picture's left."""

    side: int = -1
    key: Colour = (1.22, 1.10, 0.96)
    fill: Colour = (0.20, 0.23, 0.29)
    rim: Colour = (1.0, 0.95, 0.88)
    sky: Colour = (0.23, 0.235, 0.26)
    ground: Colour = (0.20, 0.14, 0.11)
    key_height: float = 0.55

    def rows(self, subsurface: Colour) -> NDArray[np.float32]:
        rows = np.zeros((11, 3), np.float32)
        rows[KEY] = _unit((0.62 * self.side, self.key_height, 0.68))
        rows[KEY_HALF] = _unit(rows[KEY] + np.array([0.0, 0.0, 1.0]))
        rows[FILL] = _unit((-0.75 * self.side, 0.12, 0.62))
        rows[RIM] = _unit((-0.85 * self.side, 0.45, -0.45))
        rows[RIM_LEFT] = _unit((0.9 * self.side, 0.3, -0.5))
        for row, colour in (
            (KEY_RGB, self.key),
            (FILL_RGB, self.fill),
            (RIM_RGB, self.rim),
            (SKY, self.sky),
            (GROUND, self.ground),
            (SUBSURFACE, subsurface),
        ):
            rows[row] = colour
        return rows


def _unit(vector: object) -> NDArray[np.float64]:
    v = np.asarray(vector, np.float64)
    unit: NDArray[np.float64] = v / np.linalg.norm(v)
    return unit
