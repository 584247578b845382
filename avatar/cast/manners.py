"""How a face behaves while it idles, listens, thinks and speaks, as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from avatar.cast.gestures import GestureName
from avatar.media import Behaviour


@dataclass(frozen=True)
class Posture:
    """What passes smoothly from one behaviour to the next.

    Head movement and posture are in units of the temperament's sway, brows in its brow range, so
    that a calm character stays calm in everything.
    """

    sway: float
    """How far the head wanders."""
    pace: float
    """How fast it does."""
    pitch: float
    """Where the head is held; up is positive."""
    roll: float
    ty: float
    brow: float
    """Where the brows are held."""
    brow_sway: float
    smile: float
    """Added to the temperament's."""
    breaths: float
    """Factor of the usual breaths a minute."""


@dataclass(frozen=True)
class Glances:
    """Where the eyes rest, and for how long; distances in controls, times in seconds."""

    viewer_s: float
    """Mean stay at the viewer."""
    away_s: float
    """Mean stay elsewhere."""
    leave: float
    """Probability that a new look at the viewer's face is one away from it."""
    wander: float
    """Probability that a look elsewhere is followed by another one elsewhere."""
    reach: tuple[float, float]
    """Nearest and farthest to the side."""
    height: tuple[float, float]
    """Highest and lowest; down is positive."""
    keeps_side: bool = False
    """Always to the same side, as long as the behaviour lasts."""


@dataclass(frozen=True)
class Manner:
    """All of one behaviour."""

    posture: Posture
    glances: Glances
    blinks: float
    """Factor of the temperament's blinks a minute."""
    gestures: Mapping[GestureName, tuple[float, float]] = field(default_factory=dict)
    """How often a minute, and how strongly."""


MANNERS: Mapping[Behaviour, Manner] = {
    "idle": Manner(
        Posture(
            sway=0.8, pace=0.8, pitch=0.0, roll=0.0, ty=0.0,
            brow=0.0, brow_sway=0.5, smile=0.0, breaths=1.0,
        ),
        Glances(1.6, 0.9, leave=0.3, wander=0.25, reach=(0.3, 0.7), height=(-0.25, 0.35)),
        blinks=1.0,
        gestures={"raise": (1.0, 0.5), "tilt": (1.0, 0.4)},
    ),
    "listening": Manner(
        Posture(
            sway=0.55, pace=0.8, pitch=-0.2, roll=0.35, ty=0.3,
            brow=0.15, brow_sway=0.5, smile=0.1, breaths=1.0,
        ),
        Glances(2.2, 0.5, leave=0.06, wander=0.0, reach=(0.2, 0.45), height=(-0.1, 0.3)),
        blinks=0.85,
        gestures={"nod": (7.0, 0.4), "raise": (4.0, 0.7), "tilt": (2.0, 0.6)},
    ),
    "thinking": Manner(
        Posture(
            sway=0.6, pace=0.6, pitch=0.45, roll=-0.3, ty=-0.1,
            brow=-0.2, brow_sway=0.6, smile=-0.12, breaths=0.9,
        ),
        Glances(
            0.5, 1.3, leave=0.85, wander=0.75, reach=(0.25, 0.65), height=(-0.75, -0.3),
            keeps_side=True,
        ),
        blinks=0.5,
        gestures={"raise": (2.0, 0.5), "tilt": (3.0, 0.6)},
    ),
    "speaking": Manner(
        Posture(
            sway=1.2, pace=1.5, pitch=0.05, roll=0.0, ty=0.0,
            brow=0.1, brow_sway=0.9, smile=0.02, breaths=1.15,
        ),
        Glances(1.8, 0.6, leave=0.2, wander=0.1, reach=(0.25, 0.55), height=(-0.3, 0.3)),
        blinks=1.2,
        gestures={"beat": (16.0, 0.8), "raise": (5.0, 0.8), "nod": (2.0, 0.4), "tilt": (2.0, 0.5)},
    ),
}  # fmt: skip
