"""How each character looks: everything the renderer needs to draw one person."""

from dataclasses import dataclass
from typing import Literal

from training.data.paint import Colour

HairStyle = Literal["waves", "swept", "curls", "tousled"]
Collar = Literal["vneck", "shirt", "blouse", "hood"]


@dataclass(frozen=True)
class Look:
    """Lengths are pixels of the 256-pixel picture, measured from the centre of the head."""

    character_id: str
    skin: Colour
    hair: Colour
    eye: Colour
    lip: Colour
    clothes: Colour
    trim: Colour
    background: tuple[Colour, Colour]
    hair_style: HairStyle
    collar: Collar
    face_width: float = 61.0
    jaw_width: float = 45.0
    chin_width: float = 17.0
    chin_y: float = 83.0
    eye_x: float = 27.5
    eye_y: float = -3.0
    eye_width: float = 15.0
    eye_height: float = 9.0
    iris_radius: float = 7.7
    brow_y: float = -27.0
    brow_thickness: float = 4.6
    brow_arch: float = 4.5
    nose_width: float = 9.5
    nose_y: float = 25.0
    mouth_y: float = 47.0
    mouth_width: float = 23.5
    upper_lip: float = 4.4
    lower_lip: float = 6.4
    lash: float = 2.2
    """Thickness of the upper lash line; from 2.8 on it has a wing."""
    blush: float = 0.3
    wrinkles: float = 0.0
    freckles: bool = False
    beard: bool = False
    glasses: bool = False
    earrings: bool = False
    light: int = -1
    """-1: key light from the left of the picture, 1: from the right."""
    centre: tuple[float, float] = (128.0, 119.0)
    seed: int = 0


LOOKS: dict[str, Look] = {
    "mira": Look(
        character_id="mira",
        skin=(0.95, 0.77, 0.64),
        hair=(0.36, 0.19, 0.11),
        eye=(0.34, 0.47, 0.26),
        lip=(0.80, 0.36, 0.36),
        clothes=(0.16, 0.38, 0.44),
        trim=(0.85, 0.72, 0.48),
        background=((0.93, 0.84, 0.74), (0.70, 0.55, 0.50)),
        hair_style="waves",
        collar="vneck",
        lash=3.0,
        brow_thickness=4.0,
        blush=0.26,
        seed=11,
    ),
    "otto": Look(
        character_id="otto",
        skin=(0.93, 0.74, 0.64),
        hair=(0.80, 0.80, 0.81),
        eye=(0.30, 0.48, 0.66),
        lip=(0.78, 0.49, 0.45),
        clothes=(0.24, 0.27, 0.36),
        trim=(0.92, 0.92, 0.90),
        background=((0.62, 0.70, 0.70), (0.29, 0.36, 0.40)),
        hair_style="swept",
        collar="shirt",
        face_width=62.0,
        jaw_width=50.0,
        chin_width=22.0,
        eye_height=8.0,
        iris_radius=7.1,
        brow_thickness=6.2,
        brow_arch=2.5,
        nose_width=11.5,
        nose_y=27.0,
        upper_lip=3.2,
        lower_lip=5.2,
        lash=1.8,
        blush=0.18,
        wrinkles=1.0,
        beard=True,
        glasses=True,
        light=1,
        seed=22,
    ),
    "zuri": Look(
        character_id="zuri",
        skin=(0.47, 0.29, 0.20),
        hair=(0.13, 0.09, 0.09),
        eye=(0.27, 0.15, 0.08),
        lip=(0.60, 0.22, 0.25),
        clothes=(0.93, 0.64, 0.18),
        trim=(0.96, 0.80, 0.36),
        background=((0.52, 0.46, 0.72), (0.20, 0.17, 0.38)),
        hair_style="curls",
        collar="blouse",
        face_width=59.0,
        jaw_width=42.0,
        chin_width=15.0,
        eye_height=9.8,
        iris_radius=8.0,
        brow_arch=5.5,
        nose_width=11.0,
        mouth_width=24.5,
        upper_lip=5.6,
        lower_lip=7.6,
        lash=3.2,
        blush=0.2,
        earrings=True,
        seed=33,
    ),
    "finn": Look(
        character_id="finn",
        skin=(0.97, 0.82, 0.73),
        hair=(0.74, 0.36, 0.15),
        eye=(0.26, 0.50, 0.62),
        lip=(0.86, 0.54, 0.48),
        clothes=(0.30, 0.46, 0.32),
        trim=(0.82, 0.88, 0.80),
        background=((0.78, 0.87, 0.93), (0.44, 0.58, 0.72)),
        hair_style="tousled",
        collar="hood",
        face_width=60.0,
        jaw_width=49.0,
        chin_width=22.0,
        brow_thickness=5.2,
        brow_arch=3.0,
        nose_width=9.5,
        upper_lip=3.8,
        lower_lip=5.6,
        lash=1.9,
        blush=0.3,
        freckles=True,
        light=1,
        seed=44,
    ),
}
"""Keyed by `Character.id`."""
