"""Where the eyes look: they rest, and jump."""

from dataclasses import dataclass

from avatar.cast.manners import Glances
from avatar.cast.motion import MOTION_FPS, SACCADE_FRAMES
from avatar.cast.noise import interval, unit

AT_VIEWER = (0.08, 0.06)
"""The eyes wander so far about the viewer's face."""
SHORTEST_S = 0.28
REACTION_FRAMES = (4, 12)
"""How soon the eyes follow a change of behaviour."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Gaze:
    """The fixation that goes on: its number, how old it is, how long it lasts, in frames."""

    number: int = 0
    before: Point = (0.0, 0.0)
    target: Point = (0.0, 0.0)
    is_away: bool = False
    age: int = 0
    length: int = 30

    @property
    def point(self) -> Point:
        """Where the eyes look now."""
        progress = min(1.0, self.age / SACCADE_FRAMES)
        (x, y), (to_x, to_y) = self.before, self.target
        return x + (to_x - x) * progress, y + (to_y - y) * progress


def startled(gaze: Gaze, seed: int) -> Gaze:
    """The same look, to end soon: something else has begun."""
    first, last = REACTION_FRAMES
    delay = first + int((last - first) * unit(seed, "gaze/reaction", gaze.number))
    return Gaze(
        gaze.number,
        gaze.before,
        gaze.target,
        gaze.is_away,
        gaze.age,
        min(gaze.length, gaze.age + delay),
    )


def next_gaze(gaze: Gaze, glances: Glances, seed: int, episode: int) -> Gaze:
    """One frame later; `episode` counts the changes of behaviour."""
    if gaze.age + 1 < gaze.length:
        return Gaze(gaze.number, gaze.before, gaze.target, gaze.is_away, gaze.age + 1, gaze.length)
    number = gaze.number + 1
    chance = glances.wander if gaze.is_away else glances.leave
    is_away = unit(seed, "gaze/leave", number) < chance
    target = _elsewhere(glances, seed, number, episode) if is_away else _viewer(seed, number)
    mean_s = glances.away_s if is_away else glances.viewer_s
    length_s = max(SHORTEST_S, mean_s * interval(seed, "gaze/length", number))
    return Gaze(number, gaze.point, target, is_away, 1, round(MOTION_FPS * length_s))


def _viewer(seed: int, number: int) -> Point:
    x, y = (2.0 * unit(seed, f"gaze/viewer/{axis}", number) - 1.0 for axis in "xy")
    return AT_VIEWER[0] * x, AT_VIEWER[1] * y


def _elsewhere(glances: Glances, seed: int, number: int, episode: int) -> Point:
    side = unit(seed, "gaze/side", episode if glances.keeps_side else number)
    near, far = glances.reach
    high, low = glances.height
    x = near + (far - near) * unit(seed, "gaze/away/x", number)
    y = high + (low - high) * unit(seed, "gaze/away/y", number)
    return (x if side < 0.5 else -x), y
