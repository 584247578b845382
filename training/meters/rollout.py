"""What is kept of an endless rollout: a few figures of each minute, never the video."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.meters.identity import Cells, Likeness, cells
from training.meters.lip_sync import Box
from training.meters.picture import EYE_BOX, Video, cut, gradient
from training.meters.sync import Curve, measure_sync


@dataclass(frozen=True)
class Minute:
    """Of a stretch of video. `colour` is (3,) and `cells` (32, 32, 3), means of 0 to 255."""

    colour: NDArray[np.float64]
    cells: Cells
    eyes: float
    mouth: float
    opening: Curve


@dataclass
class Tally:
    """Sums over the stretch that runs; `add` makes it grow by nothing but its openings."""

    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros((256, 256, 3)))
    eyes: float = 0.0
    mouth: float = 0.0
    num_frames: int = 0
    opening: list[Curve] = field(default_factory=list)

    def add(self, frames: Video, opening: Curve, mouth: Box) -> None:
        """Take in (T, 256, 256, 3) frames with the (T,) opening read from them."""
        self.total += frames.sum(axis=0, dtype=np.uint32)
        self.eyes += gradient(cut(frames, EYE_BOX)) * len(frames)
        self.mouth += gradient(cut(frames, mouth)) * len(frames)
        self.num_frames += len(frames)
        self.opening.append(opening)

    def minute(self) -> Minute:
        """Raises ValueError where nothing was added."""
        if not self.num_frames:
            raise ValueError("a minute without frames has no mean")
        mean = self.total / self.num_frames
        return Minute(
            mean.mean(axis=(0, 1)),
            cells(mean),
            self.eyes / self.num_frames,
            self.mouth / self.num_frames,
            np.concatenate(self.opening),
        )


@dataclass(frozen=True)
class Drift:
    """The last minute against the first, and the worst of all against the first.

    `colour` is the mean change of the mean colour's channels, of 255; identity as `Likeness.score`
    has it; `opening` are correlations with the speech at the best lag; `eyes` and `mouth` are
    sharpness over that of the first minute.
    """

    colour: float
    colour_worst: float
    identity_first: float
    identity_last: float
    identity_worst: float
    opening_first: float
    opening_last: float
    opening_worst: float
    eyes: float
    mouth: float
    num_minutes: int


def measure_drift(minutes: Sequence[Minute], likeness: Likeness, truth: Curve) -> Drift:
    """Judge the minutes of one rollout in which the same (T,) true opening comes round each minute.

    Raises:
        ValueError: There are fewer than two.
    """
    if len(minutes) < 2:
        raise ValueError(f"{len(minutes)} minutes given: drift is between two at least")
    first, last = minutes[0], minutes[-1]
    colours = [float(np.abs(each.colour - first.colour).mean()) for each in minutes]
    scores = [likeness.score(each.cells) for each in minutes]
    lips = [measure_sync(each.opening, truth).correlation for each in minutes]
    return Drift(
        colour=colours[-1],
        colour_worst=max(colours),
        identity_first=scores[0],
        identity_last=scores[-1],
        identity_worst=min(scores),
        opening_first=lips[0],
        opening_last=lips[-1],
        opening_worst=min(lips),
        eyes=last.eyes / first.eyes,
        mouth=last.mouth / first.mouth,
        num_minutes=len(minutes),
    )
