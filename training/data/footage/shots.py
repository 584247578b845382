"""Where a film is cut: no clip may span two shots."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import median_filter  # type: ignore[import-untyped]  # scipy has no stubs

Thumbnail = NDArray[np.float32]
Shot = tuple[int, int]
"""First frame, and the first frame after it."""
_SIZE = (32, 18)
_LEAST_CHANGE = 12.0
"""Of 255 a pixel: less is never a cut."""
_TIMES_USUAL = 4.0
"""A cut changes the picture this many times as much as the frames around it do."""
_AROUND = 13


def thumbnail(frame: NDArray[np.uint8]) -> Thumbnail:
    """(18, 32, 3) of an (H, W, 3) picture."""
    small = Image.fromarray(frame).resize(_SIZE, Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(small, np.float32)


def find_shots(thumbnails: Iterable[Thumbnail]) -> list[Shot]:
    """Hard cuts and flashes; a slow dissolve is not found, but no face is tracked through it."""
    changes = [0.0]
    before: Thumbnail | None = None
    for each in thumbnails:
        if before is not None:
            changes.append(float(np.abs(each - before).mean()))
        before = each
    if before is None:
        return []
    change = np.array(changes)
    usual = median_filter(change, size=_AROUND, mode="nearest")
    is_cut = change > np.maximum(_LEAST_CHANGE, _TIMES_USUAL * usual)
    starts = [0, *np.flatnonzero(is_cut).tolist()]
    return list(zip(starts, [*starts[1:], len(change)], strict=True))
