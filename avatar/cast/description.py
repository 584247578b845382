"""A character's description file: who it is, how it speaks and moves; what is wrong is named."""

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from avatar.cast.characters import Character, Temperament, Voice
from avatar.errors import InvalidInput, NotFound

ID = r"^[a-z][a-z0-9_]{1,23}$"
"""Of an avatar: a folder's name, a part of addresses."""

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""Pydantic's names for a field that there is not."""

Described = TypeVar("Described")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VoiceFields(_Strict):
    speed: float = Field(default=1.0, ge=0.7, le=1.4, description="rate of speech, 1.0 is usual")
    pitch: float = Field(default=1.0, ge=0.6, le=1.4, description="height of the voice, 1.0 usual")


class TemperamentFields(_Strict):
    blinks_per_minute: float = Field(default=16.0, ge=4, le=40, description="at rest")
    sway: float = Field(
        default=0.34, ge=0.1, le=0.6, description="head movement; the shipped cast has 0.26 to 0.42"
    )
    brow_range: float = Field(default=0.6, ge=0, le=1, description="largest movement of the brows")
    smile: float = Field(default=0.35, ge=0, le=0.7, description="mean smile")


class CharacterFields(_Strict):
    """The file's upper part; `look` is read by what draws, see training/character."""

    id: str = Field(pattern=ID, description="name of the avatar: a-z, 0-9 and _, 2 to 24 of them")
    display_name: str = Field(min_length=1, max_length=40, description="name that people see")
    description: str = Field(min_length=1, max_length=160, description="one sentence for the lobby")
    persona: str = Field(
        min_length=1, max_length=4000, description="who the chat model is told to be"
    )
    seed: int = Field(
        default=1, ge=0, lt=2**31, description="another seed, other movements and small details"
    )
    voice: VoiceFields = VoiceFields()
    temperament: TemperamentFields = TemperamentFields()
    look: dict[str, Any] = Field(default_factory=dict, description="how it is drawn, below")

    def character(self) -> Character:
        return Character(
            id=self.id,
            display_name=self.display_name,
            description=self.description,
            persona=self.persona,
            voice=Voice(**self.voice.model_dump()),
            temperament=Temperament(**self.temperament.model_dump()),
            seed=self.seed,
        )


def read_fields(path: Path) -> CharacterFields:
    """Read and check a description file.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is no TOML, or a field is wrong; the message says which and what may be.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as TOML: {error}") from error
    return checked(CharacterFields, content, str(path))


def checked(kind: type[Described], content: object, where: str, under: str = "") -> Described:
    """`content` as a value of `kind`, a model or dataclass; `where` and `under` name it in errors.

    Raises:
        InvalidInput: The first wrong field by name, what was given and what is allowed.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        # a misspelt name may also be missing: the misspelling is what helps
        problems = sorted(error.errors(), key=lambda each: each["type"] not in UNKNOWN)
        first = problems[0]
        loc = [str(each) for each in first["loc"]]
        name = ".".join([*([under] if under else []), *loc])
        if first["type"] in UNKNOWN:
            problem = _no_such_field(loc[-1], _fields_at(kind, first["loc"][:-1]))
        elif first["type"] == "missing":
            problem = "is missing"
        else:
            problem = f"{first['msg']}; {first['input']!r} was given"
        raise InvalidInput(f"{where}: {name}: {problem}") from error


def _no_such_field(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no such field{hint} Allowed: {', '.join(known)}"


def _fields_at(kind: object, loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the table at `loc` in a model or dataclass."""
    for step in loc:
        if isinstance(step, str):
            kind = _types(kind).get(step, kind)
    return list(_types(kind))


def _types(kind: object) -> dict[str, Any]:
    """Types of the fields of what `kind` is, or of the first table that its type arguments name."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return {each.name: each.type for each in dataclasses.fields(kind)}
    for argument in get_args(kind):
        if found := _types(argument):
            return found
    return {}
