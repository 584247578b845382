"""How a face moves: blinks, looks and head, counted in its controls."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import CAST, Temperament
from avatar.cast.motion import CONTROL_NAMES, MOTION_FPS
from avatar.cast.sampler import COUNTER_TURN, init_state, step
from avatar.media import BEHAVIOURS, Behaviour

AWAY = 0.2
"""Looks farther than this from the viewer's face are elsewhere."""
SHUT = 0.9


@dataclass(frozen=True)
class MotionStatistics:
    """Of (F, 10 or more) controls; spreads are standard deviations, of controls."""

    blinks_per_minute: float
    look_s: float
    """Mean length of a look that stays at one place."""
    away: float
    """Share of the time in which the eyes are not at the viewer."""
    yaw: float
    pitch: float
    roll: float
    brow: float


def motion_statistics(controls: NDArray[np.float32]) -> MotionStatistics:
    """Of at least a minute, or the counts mean little."""
    columns = dict(zip(CONTROL_NAMES, controls.T, strict=False))
    minutes = len(controls) / MOTION_FPS / 60
    shut = columns["blink"] > SHUT
    # where the eyes look, as seen from a head that does not turn
    x = columns["gaze_x"] + COUNTER_TURN * columns["yaw"]
    y = columns["gaze_y"] - COUNTER_TURN * columns["pitch"]
    moving = np.hypot(np.diff(x), np.diff(y)) > 0.01
    num_looks = 1 + np.count_nonzero(np.diff(moving.astype(int)) == 1)
    spread = {name: float(columns[name].std()) for name in ("yaw", "pitch", "roll", "brow")}
    return MotionStatistics(
        blinks_per_minute=np.count_nonzero(np.diff(shut.astype(int)) == 1) / minutes,
        look_s=float(np.count_nonzero(~moving)) / MOTION_FPS / num_looks,
        away=float((np.hypot(x, y) > AWAY).mean()),
        **spread,
    )


def sampled(
    temperament: Temperament, behaviour: Behaviour, minutes: float, seeds: Sequence[int]
) -> MotionStatistics:
    """Mean statistics of the sampler's own controls in one behaviour, of so many sessions."""
    rows = []
    for seed in seeds:
        _, state = step(init_state(seed, temperament), behaviour, (), 10 * MOTION_FPS)
        controls, _ = step(state, behaviour, (), round(60 * MOTION_FPS * minutes))
        rows.append(list(asdict(motion_statistics(controls)).values()))
    return MotionStatistics(*np.mean(rows, axis=0).tolist())


def table(minutes: float, seeds: Sequence[int]) -> str:
    """Of everyone and every behaviour, as Markdown."""
    names = [each.name for each in fields(MotionStatistics)]
    rows = [["who", "does", *names], ["---"] * (2 + len(names))]
    for character in CAST:
        for behaviour in BEHAVIOURS:
            found = sampled(character.temperament, behaviour, minutes, seeds)
            values = [f"{value:.2f}" for value in asdict(found).values()]
            rows.append([character.id, behaviour, *values])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="The table of docs/motion.md, measured anew.")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each session")
    parser.add_argument("--sessions", type=int, default=4)
    args = parser.parse_args()
    sys.stdout.write(table(args.minutes, range(args.sessions)))


if __name__ == "__main__":
    main()
