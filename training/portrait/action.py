"""What a face does in one frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[float] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Pose:
    """The mouth: the five values of `MOUTH_NAMES`, and the smile that bends it."""

    open: float = 0.0
    wide: float = 0.0
    round: float = 0.0
    teeth: float = 0.0
    tongue: float = 0.0
    smile: float = 0.0


@dataclass(frozen=True)
class Movement:
    """Lids, brows and gaze; gaze 1 is to the picture's right, and down."""

    blink: float = 0.0
    brow: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0


@dataclass(frozen=True)
class Stance:
    """Head and shoulders; shifts to the picture's right, and down."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    breath: float = 0.0


REST = (Pose(), Movement())


def read_action(mouth: Numbers, controls: Numbers) -> tuple[Pose, Movement, Stance]:
    """The numbers of a frame by name; controls as in `CONTROL_NAMES`, and optionally breath."""
    yaw, pitch, roll, tx, ty, blink, brow, gaze_x, gaze_y, smile, *rest = map(float, controls)
    open_, wide, round_, teeth, tongue = map(float, mouth)
    pose = Pose(open_, wide, round_, teeth, tongue, smile)
    stance = Stance(yaw, pitch, roll, tx, ty, *rest)
    return pose, Movement(blink, brow, gaze_x, gaze_y), stance
