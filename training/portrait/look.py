"""What a character looks like, as data: every number that the drawing of one person needs."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, TypeAdapter, with_config

from training.portrait.body import BodyShape
from training.portrait.lids import EyeShape
from training.portrait.light import Light
from training.portrait.lips import LipShape
from training.portrait.shape import HeadShape

Colour = tuple[float, float, float]
"""Linear RGB."""
Point = tuple[float, float, float]


def linear(code: str) -> Colour:
    """A colour written as #rrggbb, as linear light."""
    if len(code) != 7 or code[0] != "#":
        raise ValueError(f"colour {code!r} is not of the form #rrggbb")
    r, g, b = ((int(code[i : i + 2], 16) / 255.0) ** 2.2 for i in (1, 3, 5))
    return r, g, b


def _is_colour(code: str) -> str:
    linear(code)
    return code


Hex = Annotated[str, AfterValidator(_is_colour)]
_STRICT = ConfigDict(extra="forbid")


@with_config(_STRICT)
@dataclass(frozen=True)
class SkinLook:
    colour: Hex = "#e6b193"
    lips: Hex = "#b4585a"
    blush: Hex = "#d8624e"
    blush_amount: float = 0.35
    subsurface: Colour = (0.46, 0.29, 0.21)
    """How far red, green and blue light reach around the edge of shadow."""
    freckles: int = 0
    wrinkles: float = 0.0
    stubble: float = 0.0
    shadow_on_lids: float = 0.12
    liner: float = 0.6
    """Darkness of the lash line."""
    lashes: float = 1.0
    """Length of the upper lashes."""
    oil: float = 1.0


@with_config(_STRICT)
@dataclass(frozen=True)
class IrisLook:
    colour: Hex = "#4a6a35"
    inner: Hex = "#a98f45"
    pupil: float = 0.42


@with_config(_STRICT)
@dataclass(frozen=True)
class BrowLook:
    colour: Hex = "#3a2418"
    inner: tuple[float, float] = (1.35, 3.0)
    peak: tuple[float, float] = (3.7, 3.5)
    tail: tuple[float, float] = (5.5, 2.75)
    thick: float = 0.42
    hairs: int = 120


@with_config(_STRICT)
@dataclass(frozen=True)
class Blob:
    """A soft ellipsoid, or with `end` a rod; `mirror` makes a second on the other side."""

    centre: Point
    radii: Point
    end: Point | None = None
    mirror: bool = False
    blend: float = 1.2


@with_config(_STRICT)
@dataclass(frozen=True)
class Locks:
    """A family of locks that flow over a volume of hair."""

    count: int
    length: tuple[float, float]
    width: tuple[float, float] = (0.7, 1.2)
    where: tuple[float, float, float, float] = (-180.0, 180.0, 0.0, 1.0)
    """Roots: azimuths from and to in degrees (0 is the front); heights, hairline 0 to crown 1."""
    rooted: Literal["scalp", "part"] = "scalp"
    fan: float = 0.0
    """How much locks from the parting spread to the front and the back."""
    depth: tuple[float, float] = (0.0, 0.5)
    """How far below the volume's surface."""
    lift: float = 0.0
    """How far the ends leave the surface."""
    wave: float = 0.0
    waves: float = 2.0
    curl: float = 0.0
    """1 turns waves into spirals."""
    from_part: float = 1.0
    back: float = 0.2
    down: float = 0.6
    aside: float = 0.0
    """Strengths of the directions that hair takes."""
    towards: Point | None = None
    """A place to which all of it runs: a bun, a knot."""
    shade: float = 1.0
    thickness: float = 0.35
    """Relief of a lock, as a share of its width."""
    stick: float = 0.9
    """1 keeps to the volume's surface."""
    steps: int = 14
    mess: float = 0.12


@with_config(_STRICT)
@dataclass(frozen=True)
class HairLook:
    colour: Hex = "#5a3220"
    tip: Hex = "#7a4a2c"
    volume: tuple[Blob, ...] = ()
    locks: tuple[Locks, ...] = ()
    part: float = -1.5
    """x of the parting."""
    hairline: tuple[float, ...] = (6.6, 6.2, 3.6, 0.2, 1.5, -3.5, -6.0)
    """Heights at 0, 30, 60, 75, 95, 125 and 180 degrees from the front."""
    grain: float = 0.55


@with_config(_STRICT)
@dataclass(frozen=True)
class BeardLook:
    colour: Hex = "#b9b4ae"
    count: int = 700
    length: float = 1.1
    width: float = 0.30
    moustache: int = 60
    reach: float = 1.0
    """1 up to the ears, less for a goatee."""


@with_config(_STRICT)
@dataclass(frozen=True)
class Clothes:
    kind: Literal["crew", "vneck", "shirt", "hood", "roll", "jacket", "none"] = "crew"
    colour: Hex = "#2e6470"
    trim: Hex = "#d8b878"
    second: Hex = "#f0ece4"
    knit: float = 0.25


@with_config(_STRICT)
@dataclass(frozen=True)
class Worn:
    """Things on the head; None leaves them off."""

    glasses: Hex | None = None
    glasses_round: float = 1.0
    """1 round, 0 square."""
    earrings: Hex | None = None
    earring: Literal["hoop", "stud", "drop"] = "hoop"
    band: Hex | None = None
    turban: Hex | None = None
    scarf: Hex | None = None
    necklace: Hex | None = None


@with_config(_STRICT)
@dataclass(frozen=True)
class Backdrop:
    near: Hex = "#d9c2a8"
    far: Hex = "#7c6250"
    spot: Hex = "#ffe9c4"
    scene: Literal["lights", "window", "shelves", "leaves", "stars", "arches", "clocks"] = "lights"
    accent: Hex = "#b98a5a"


@with_config(_STRICT)
@dataclass(frozen=True)
class RobotLook:
    shell: Hex = "#e9e4da"
    trim: Hex = "#e08a4a"
    joint: Hex = "#4a5058"
    screen: Hex = "#10161c"
    light: Hex = "#7fe8ff"
    second: Hex = "#ff8f8a"


@with_config(_STRICT)
@dataclass(frozen=True)
class FurLook:
    """A fox's coat."""

    coat: Hex = "#c8692f"
    belly: Hex = "#f3e6d6"
    dark: Hex = "#4a2a1c"
    nose: Hex = "#1b1614"
    tufts: int = 2600


@with_config(_STRICT)
@dataclass(frozen=True)
class Look:
    skin: SkinLook = field(default_factory=SkinLook)
    head: HeadShape = field(default_factory=HeadShape)
    eyes: EyeShape = field(default_factory=EyeShape)
    iris: IrisLook = field(default_factory=IrisLook)
    mouth: LipShape = field(default_factory=LipShape)
    brows: BrowLook = field(default_factory=BrowLook)
    hair: HairLook | None = None
    beard: BeardLook | None = None
    body: BodyShape = field(default_factory=BodyShape)
    clothes: Clothes = field(default_factory=Clothes)
    worn: Worn = field(default_factory=Worn)
    backdrop: Backdrop = field(default_factory=Backdrop)
    light: Light = field(default_factory=Light)
    robot: RobotLook | None = None
    """A machine instead of a person: of the rest only light, backdrop and seed are used."""
    fur: FurLook | None = None
    """A fox instead of a human."""
    ears: float = 1.0
    """Size of the ears; 0 leaves them off."""
    seed: int = 0


def read_look(path: Path) -> Look:
    """A look from a TOML file; every key may be left out.

    Raises:
        pydantic.ValidationError: A key is misspelt or a value of the wrong kind.
    """
    return TypeAdapter(Look).validate_python(tomllib.loads(path.read_text()))
