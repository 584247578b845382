"""How far each place of a picture has moved from where it is when the figure stands still."""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]  # scipy has no types

Floats = NDArray[np.float32]

_REACH_CELLS = 2.0
"""How far beside the figure its movement is felt, fading: where it was, the backdrop is stretched
instead of showing it twice."""
_FADE = 0.02


@njit(cache=True, fastmath=True, error_model="numpy")
def cell_motion(
    owner: NDArray[np.int32],
    weights: Floats,
    triangles: NDArray[np.int32],
    screen: Floats,
    still: Floats,
    cells: Floats,
) -> None:
    """Fill `cells` (h, w, 3): mean way back in drawn pixels, x and y, and the share covered.

    `screen` and `still` are the (V, 3) projected points as they are and as they stand still.
    """
    height, width = cells.shape[0], cells.shape[1]
    step = owner.shape[0] // height
    for row in range(height):
        for column in range(width):
            x, y, count = 0.0, 0.0, 0
            for i in range(row * step, (row + 1) * step):
                for j in range(column * step, (column + 1) * step):
                    t = owner[i, j]
                    if t < 0:
                        continue
                    b, c = weights[i, j, 0], weights[i, j, 1]
                    a = 1.0 - b - c
                    p, q, r = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                    x += a * (still[p, 0] - screen[p, 0]) + b * (still[q, 0] - screen[q, 0])
                    x += c * (still[r, 0] - screen[r, 0])
                    y += a * (still[p, 1] - screen[p, 1]) + b * (still[q, 1] - screen[q, 1])
                    y += c * (still[r, 1] - screen[r, 1])
                    count += 1
            cells[row, column, 0] = x / max(count, 1)
            cells[row, column, 1] = y / max(count, 1)
            cells[row, column, 2] = count / (step * step)


def smooth_motion(cells: Floats) -> Floats:
    """(h, w, 3) from `cell_motion` -> (h, w, 2) that fades away around the figure."""
    share = cells[..., 2:]
    blurred = gaussian_filter(cells[..., :2] * share, (_REACH_CELLS, _REACH_CELLS, 0))
    around = blurred / (gaussian_filter(share, (_REACH_CELLS, _REACH_CELLS, 0)) + _FADE)
    motion: Floats = (share * cells[..., :2] + (1 - share) * around).astype(np.float32)
    return motion
