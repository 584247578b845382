"""How an avatar is made: commands that check what it is made from, and make it.

A command writes lines of JSON, `{"line": …, "done": 0…1 or null, "left_s": … or null}`, or
`{"error": {"reason": …, "message": …}}` and exits with 1. It may be interrupted (SIGINT), and goes
on with the same arguments.
"""

import io
import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from re import fullmatch
from typing import Final, Protocol

from PIL import Image, UnidentifiedImageError

from avatar.cast.avatars import is_shipped
from avatar.cast.description import ID, CharacterFields, checked
from avatar.errors import (
    ConsentMissing,
    DescriptionNotTaken,
    InvalidInput,
    NotOffered,
    PortraitNotTaken,
    TooLarge,
)
from services.settings import AppConfig

MAX_DESCRIPTION_BYTES: Final = 64 << 10
MAX_PORTRAIT_BYTES: Final = 3 << 20
MIN_SIDE, MAX_SIDE = 256, 4096
"""Of a portrait, in pixels."""
FORMATS: Final = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class Described:
    """A character description, the text of its file."""

    toml: str


@dataclass(frozen=True)
class Consent:
    """That who is shown agrees to it."""

    given: bool = False
    given_by: str = ""
    statement: str = ""


@dataclass(frozen=True)
class Portrayed:
    """A portrait, and whom it shows."""

    image: bytes
    avatar: str
    display_name: str
    description: str
    persona: str
    consent: Consent = field(default_factory=Consent)


Source = Described | Portrayed


class Recipe(Protocol):
    """Commands for one kind of source; both take the path of what was sent."""

    def check(self, path: Path, /) -> list[str]:
        """Says within two minutes whether it is right."""
        ...

    def make(self, path: Path, runs: Path, avatars: Path, /) -> list[str]:
        """Puts the avatar into `avatars`; keeps what is done in `runs`."""
        ...


class TrainCharacter:
    """`make train-character`: drawn from its description, and learned."""

    def check(self, path: Path) -> list[str]:
        return [*self._command("check"), str(path), "--json"]

    def make(self, path: Path, runs: Path, avatars: Path) -> list[str]:
        places = ["--runs", str(runs), "--avatars", str(avatars)]
        return [*self._command("train"), str(path), "--json", *places]

    def _command(self, name: str) -> list[str]:
        if find_spec("numba") is None:  # of the train extra
            raise NotOffered(
                "this server was installed without what drawing and training need: install its "
                "`train` extra (make setup), or train elsewhere, and copy it into AVATARS_DIR"
            )
        return [sys.executable, "-m", "training.character", name]


@dataclass(frozen=True)
class MakePortrait:
    """`python -m avatar portrait`: of a photograph, for a profile of converted weights.

    Beside the photograph lies a file of the same name that ends in .json: what is said of it.
    """

    profile: str
    models: Path
    device: str

    def check(self, path: Path) -> list[str]:
        return [*self._command(path), "--check"]

    def make(self, path: Path, runs: Path, avatars: Path) -> list[str]:
        return [*self._command(path), "--out", str(avatars), "--device", self.device]

    def _command(self, path: Path) -> list[str]:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        consent = said["consent"]
        # =, lest what somebody wrote be taken for an option
        return [
            *(sys.executable, "-m", "avatar", "portrait", "--json"),
            *(f"--profile={self.profile}", f"--models={self.models}", f"--image={path}"),
            f"--name={said['avatar']}",
            f"--display-name={said['display_name']}",
            f"--description={said['description']}",
            f"--persona={said['persona']}",
            f"--consent={consent['given_by']}: {consent['statement']}",
        ]


@dataclass(frozen=True)
class Recipes:
    """What a profile makes its avatars from; None: not from that."""

    description: Recipe | None = None
    portrait: Recipe | None = None


def recipes_of(config: AppConfig) -> Recipes:
    """What the profile of these settings makes avatars from."""
    model = config.model
    if model.kind == "marker":
        return Recipes()
    if model.hearing != "own":  # a Wan-class model: it shows whom a picture shows
        return Recipes(portrait=MakePortrait(config.profile, config.models_dir, config.vae_device))
    # training draws for the shipped weights
    return Recipes(description=TrainCharacter() if config.profile == "tiny" else None)


@dataclass(frozen=True)
class Order:
    """What is to be made, by which recipe; `content` goes into the file `name`, and what is said
    of a portrait beside it.
    """

    avatar: str
    recipe: Recipe
    name: str
    content: bytes
    said: Mapping[str, object] | None = None


def order_of(source: Source, profile: str, recipes: Recipes) -> Order:
    """What can be seen without making anything is checked.

    Raises:
        NotOffered: The profile makes no avatars from that; ConsentMissing is one of these.
        InvalidInput: Something is wrong with it; TooLarge is one of these.
    """
    if isinstance(source, Described):
        if recipes.description is None:
            raise DescriptionNotTaken(
                f"profile {profile} draws no characters from descriptions; "
                + ("send a portrait" if recipes.portrait else "it makes no avatars at all")
            )
        avatar, content = _described(source.toml)
        return Order(avatar, recipes.description, f"{avatar}.toml", content)
    if recipes.portrait is None:
        raise PortraitNotTaken(
            f"profile {profile} takes no portrait; "
            + (
                "it draws its characters from a description: send description_toml, see "
                "docs/characters.md"
                if recipes.description
                else "it makes no avatars at all"
            )
        )
    _check_portrayed(source)
    said = asdict(replace(source, image=b""))
    del said["image"]
    name = f"{source.avatar}.img"
    return Order(source.avatar, recipes.portrait, name, source.image, said)


def _described(toml: str) -> tuple[str, bytes]:
    content = toml.encode()
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise TooLarge(
            f"a description of {len(content)} bytes; at most {MAX_DESCRIPTION_BYTES} are read"
        )
    try:
        fields = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the description cannot be read as TOML: {error}") from error
    avatar = checked(CharacterFields, fields, "the description").id
    _check_name(avatar)
    return avatar, content


def _check_portrayed(source: Portrayed) -> None:
    if not source.consent.given or not source.consent.given_by.strip():
        raise ConsentMissing(
            "an avatar from a portrait needs the consent of whom it shows: set consent.given and "
            "say who gave it in consent.given_by"
        )
    _check_name(source.avatar)
    checked(
        CharacterFields,
        {
            "id": source.avatar,
            "display_name": source.display_name,
            "description": source.description,
            "persona": source.persona,
        },
        "the portrait",
    )
    for name, text, most in (
        ("given_by", source.consent.given_by, 200),
        ("statement", source.consent.statement, 280),
    ):
        if len(text) > most:
            raise TooLarge(f"consent.{name} has {len(text)} characters; at most {most}")
    _check_image(source.image)


def _check_name(avatar: str) -> None:
    if not fullmatch(ID, avatar):
        raise InvalidInput(
            f"{avatar[:64]!r} is no name: a-z, 0-9 and _ are, a letter first, 2 to 24 of them"
        )
    if is_shipped(avatar):
        raise InvalidInput(f"{avatar!r} is one of the shipped cast; choose another name")


def _check_image(image: bytes) -> None:
    """What can be said without a face detector; the recipe's own check says the rest."""
    if len(image) > MAX_PORTRAIT_BYTES:
        raise TooLarge(f"a portrait of {len(image)} bytes; at most {MAX_PORTRAIT_BYTES} are read")
    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            width, height = opened.size
            if max(width, height) <= MAX_SIDE:
                opened.load()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"the portrait is none of {', '.join(FORMATS)}, or damaged") from error
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise InvalidInput(
            f"the portrait has {width}x{height} pixels; {MIN_SIDE} to {MAX_SIDE} a side are taken"
        )
