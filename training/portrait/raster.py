"""Which triangle each pixel sees."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@njit(cache=True, fastmath=True, error_model="numpy")
def project(
    points: Floats, scale: float, distance: float, centre_x: float, centre_y: float, out: Floats
) -> None:
    """Perspective view along -z of (V, 3) points: pixel x, pixel y, nearness (V, 3).

    `scale` is pixels a unit in the plane z = 0, `distance` the camera's height above it.
    """
    for i in range(points.shape[0]):
        factor = scale * distance / (distance - points[i, 2])
        out[i, 0] = centre_x + points[i, 0] * factor
        out[i, 1] = centre_y - points[i, 1] * factor
        out[i, 2] = points[i, 2]


@njit(cache=True, fastmath=True, error_model="numpy")
def rasterize(
    screen: Floats,
    triangles: NDArray[np.int32],
    two_sided: NDArray[np.bool_],
    nearest: Floats,
    owner: NDArray[np.int32],
    weights: Floats,
) -> None:
    """Fill `nearest` (H, W), `owner` (H, W; -1 is nothing) and `weights` (H, W, 2).

    `weights` are the barycentric weights of a triangle's second and third corner.
    """
    height, width = nearest.shape
    nearest[:] = -1e9
    owner[:] = -1
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = screen[i, 0], screen[i, 1]
        x1, y1 = screen[j, 0] - x0, screen[j, 1] - y0
        x2, y2 = screen[k, 0] - x0, screen[k, 1] - y0
        area = x2 * y1 - x1 * y2  # pixel rows grow downwards
        if area <= 0.0 and not two_sided[t]:
            continue
        if abs(area) < 1e-9:
            continue
        left = max(int(np.ceil(x0 + min(0.0, x1, x2) - 0.5)), 0)
        right = min(int(np.floor(x0 + max(0.0, x1, x2) - 0.5)), width - 1)
        top = max(int(np.ceil(y0 + min(0.0, y1, y2) - 0.5)), 0)
        bottom = min(int(np.floor(y0 + max(0.0, y1, y2) - 0.5)), height - 1)
        inverse = 1.0 / area
        # weight of the second corner: step by column and by row
        b_x, b_y = -y2 * inverse, x2 * inverse
        c_x, c_y = y1 * inverse, -x1 * inverse
        z0, z1, z2 = screen[i, 2], screen[j, 2] - screen[i, 2], screen[k, 2] - screen[i, 2]
        a_x, a_y = -b_x - c_x, -b_y - c_y
        for row in range(top, bottom + 1):
            dy = row + 0.5 - y0
            # the span in which all three weights are positive
            low, high = left + 0.5 - x0, right + 0.5 - x0
            b_row, c_row = dy * b_y, dy * c_y
            a_row = 1.0 + dy * a_y
            low, high = _narrowed(low, high, b_row, b_x)
            low, high = _narrowed(low, high, c_row, c_x)
            low, high = _narrowed(low, high, a_row, a_x)
            first = int(np.ceil(low + x0 - 0.5 - 1e-4))
            last = int(np.floor(high + x0 - 0.5 + 1e-4))
            for column in range(first, last + 1):
                dx = column + 0.5 - x0
                b, c = dx * b_x + b_row, dx * c_x + c_row
                z = z0 + b * z1 + c * z2
                if z > nearest[row, column]:
                    nearest[row, column] = z
                    owner[row, column] = t
                    weights[row, column, 0] = b
                    weights[row, column, 1] = c


@njit(cache=True, fastmath=True, error_model="numpy", inline="always")
def _narrowed(low: float, high: float, start: float, slope: float) -> tuple[float, float]:
    """The part of [low, high] where start + slope x is not negative."""
    if slope > 1e-12:
        low = max(low, -start / slope)
    elif slope < -1e-12:
        high = min(high, -start / slope)
    elif start < 0.0:
        high = low - 2.0
    return low, high
