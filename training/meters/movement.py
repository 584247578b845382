"""How a face moves besides its mouth: blinks, gaze and head as figures of control curves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from training.meters.control_reader import CONTROLS
from training.meters.sync import FPS, Curve, correlation

HEAD = ("yaw", "pitch", "roll")
GAZE = ("gaze_x", "gaze_y")
SHUT, OPEN = 0.5, 0.25
"""A blink begins when the lids are closer than `SHUT`, and is over when further than `OPEN`."""
STEADY = 0.02
"""The eyes rest where the true gaze moves less than this from frame to frame."""


@dataclass(frozen=True)
class Movement:
    """Of one video. Depth is the median closure of blinks (1 is shut); 0 where there is none.

    Spreads are standard deviations in the units of the controls, the mean over the curves of head
    (yaw, pitch, roll) and of gaze (x, y); the gaze is looked at where the lids are open.
    """

    blinks_a_minute: float
    blink_depth: float
    head_spread: float
    gaze_spread: float


@dataclass(frozen=True)
class Following:
    """A video against the controls that made it.

    Correlations of lids, head and gaze with the true ones; `wobble` is what the eyes move from
    frame to frame while the true ones rest, root mean square in the units of the controls.
    """

    blink: float
    head: float
    gaze: float
    wobble: float


def measure_movement(videos: Sequence[Curve]) -> Movement:
    """Of several videos of one or many characters, each (T, 10) as in `CONTROLS`.

    Spreads are taken inside each video, so that characters who look elsewhere add nothing.
    """
    found = [blinks(_of(curves, "blink")) for curves in videos]
    depths = [depth for each in found for depth in each]
    minutes = sum(len(curves) for curves in videos) / FPS / 60
    return Movement(
        blinks_a_minute=len(depths) / minutes,
        blink_depth=float(np.median(depths)) if depths else 0.0,
        head_spread=_spread([curves[:, _columns(HEAD)] for curves in videos]),
        gaze_spread=_spread([_awake(curves)[:, _columns(GAZE)] for curves in videos]),
    )


def compare(shown: Movement, true: Movement) -> dict[str, float]:
    """Each figure as a ratio to the true one; 0 where there is nothing to compare with."""
    truth = asdict(true)
    return {
        name: value / truth[name] if truth[name] else 0.0 for name, value in asdict(shown).items()
    }


def blinks(closure: Curve) -> list[float]:
    """The deepest closure of each blink in a (T,) curve."""
    deepest: list[float] = []
    inside = False
    for value in closure.tolist():
        if not inside and value > SHUT:
            inside = True
            deepest.append(value)
        elif inside:
            deepest[-1] = max(deepest[-1], value)
            inside = value > OPEN
    return deepest


def measure_following(pairs: Sequence[tuple[Curve, Curve]]) -> Following:
    """Of (seen, true) controls of videos, (T, 10) each.

    Correlations are means over the videos in which the true curve moves.
    """

    def likeness(names: Sequence[str], *, awake: bool = False) -> float:
        scores = []
        for seen, true in pairs:
            chosen = _lids_open(true) if awake else np.ones(len(true), np.bool_)
            for column in _columns(names):
                if true[chosen, column].std() > STEADY:
                    scores.append(correlation(seen[chosen, column], true[chosen, column]))
        return float(np.mean(scores)) if scores else 0.0

    return Following(
        blink=likeness(("blink",)),
        head=likeness(HEAD),
        gaze=likeness(GAZE, awake=True),
        wobble=wobble(pairs),
    )


def wobble(pairs: Sequence[tuple[Curve, Curve]]) -> float:
    """See `Following`; 0 where the eyes never rest."""
    steps = []
    gaze = _columns(GAZE)
    for seen, true in pairs:
        moved = np.diff(seen[:, gaze], axis=0)
        rests = np.abs(np.diff(true[:, gaze], axis=0)).max(axis=1) < STEADY
        open_ = _lids_open(true)
        steps.append(moved[rests & open_[1:] & open_[:-1]].ravel())
    resting = np.concatenate(steps)
    return float(np.sqrt((resting**2).mean())) if resting.size else 0.0


def _lids_open(curves: Curve) -> NDArray[np.bool_]:
    """Frames at least two away from closing lids: eyes behind them are not seen."""
    lids = _of(curves, "blink")
    # against the usual: a reader that sees all lids a little lower still sees the eyes
    closing = lids - np.median(lids) > OPEN / 2
    near: NDArray[np.bool_] = np.convolve(closing, np.ones(5), "same") < 0.5
    return near


def _awake(curves: Curve) -> Curve:
    return curves[_lids_open(curves)]


def _spread(videos: Sequence[Curve]) -> float:
    parts = [each - each.mean(axis=0) for each in videos if len(each)]
    return float(np.concatenate(parts).std(axis=0).mean()) if parts else 0.0


def _of(curves: Curve, name: str) -> Curve:
    return curves[:, CONTROLS.index(name)]


def _columns(names: Sequence[str]) -> list[int]:
    return [CONTROLS.index(name) for name in names]
