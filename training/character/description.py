"""A whole description file: the character, and its look with every number in its range."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from avatar.cast.avatars import is_shipped
from avatar.cast.characters import Character
from avatar.cast.description import CharacterFields, checked, read_fields
from avatar.errors import InvalidInput
from training.data.looks import LOOKS
from training.portrait.look import BeardLook, FurLook, HairLook, Look, RobotLook

Kind = Literal["human", "fox", "robot"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEASURED = ("head", "eyes", "mouth", "body")
"""Tables of the look whose numbers give the face its form."""
BEYOND = 0.35
"""How far a number may lie outside what the cast spans, as a share of that span."""
LEAST = 0.08
"""And at least, as a share of the number itself."""
FREE = 3.0
"""How far numbers that give the face no form may lie outside, as a share of the largest seen: what
is drawn is still a picture, and drawn in seconds."""

AT_LEAST = {"look.hair.locks.steps": 2.0}
"""A line has two ends; of everything else there may be nothing."""


@dataclass(frozen=True)
class Description:
    """What a description file says; `content` is the file itself."""

    character: Character
    look: Look
    kind: Kind
    content: str


def read_description(path: Path) -> Description:
    """Read and check a description file.

    Raises:
        NotFound: There is no such file.
        InvalidInput: Something is wrong; the message names the field and what is allowed.
    """
    fields = read_fields(path)
    if is_shipped(fields.id):
        raise InvalidInput(f"{path}: id: {fields.id!r} is one of the shipped cast; choose another")
    tables = dict(fields.look)
    kind = _kind(tables.pop("kind", "human"), path)
    tables.setdefault("seed", fields.seed)
    for own, wanted in (("fur", "fox"), ("robot", "robot")):
        if own in tables and kind != wanted:
            raise InvalidInput(
                f'{path}: look.{own}: only for kind = "{wanted}"; look.kind is "{kind}"'
            )
        if kind == wanted:
            tables.setdefault(own, {})
    look = checked(Look, tables, str(path), "look")
    check_ranges(look, path)
    return Description(fields.character(), look, kind, path.read_text(encoding="utf-8"))


def check_ranges(look: Look, path: Path) -> None:
    """Raises InvalidInput where a form is beyond what the model can be expected to know, and
    where another number is beyond what can be drawn.
    """
    for name, value in _numbers("look", look):
        span = allowed(name)
        if span is not None and not span[0] <= value <= span[1]:  # nor is nan
            raise InvalidInput(
                f"{path}: {name}: {value:g} was given, allowed is {span[0]:g} to {span[1]:g}"
            )


@cache
def allowed(name: str) -> tuple[float, float] | None:
    """What a number may be: what the cast has, and somewhat beyond; None where any will do.

    The model knows faces by the cast's: eyes and mouth are where it looks for them.
    """
    found = _seen().get(name)
    if found is None or name == "look.seed":
        return None
    low, high = min(found), max(found)
    if name.split(".")[1] in MEASURED:
        margin = max(BEYOND * (high - low), LEAST * max(abs(low), abs(high)))
        return round(low - margin, 3), round(high + margin, 3)
    high += FREE * max(abs(low), abs(high), 1.0)
    if low < 0.0:
        low -= FREE * max(abs(low), 1.0)
    else:
        low = AT_LEAST.get(name, 0.0)
    return float(f"{low:.3g}"), float(f"{high:.3g}")


@cache
def _seen() -> dict[str, list[float]]:
    """Every number of the looks of the cast, and of a look that is all usual values."""
    seen: dict[str, list[float]] = {}
    usual = Look(hair=HairLook(), beard=BeardLook(), robot=RobotLook(), fur=FurLook())
    for look in (*LOOKS.values(), usual):
        for name, value in _numbers("look", look):
            seen.setdefault(name, []).append(value)
    return seen


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    """Name and value of every number; those of a list all have the list's name."""
    if isinstance(value, tuple):
        for each in value:
            yield from _numbers(name, each)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _numbers(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def field_rows() -> Iterator[tuple[str, str, str]]:
    """Name, default and allowed values of every field, for docs/characters.md."""
    yield from _upper_rows("", CharacterFields)
    yield "look.kind", '"human"', ", ".join(f'"{kind}"' for kind in KINDS)
    yield from _rows("look", Look)


def _upper_rows(under: str, kind: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if name == "look":
            continue
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _upper_rows(f"{name}.", inner)
            continue
        limits = {type(each).__name__: each for each in field.metadata}
        low, high = limits.get("Ge"), limits.get("Le")
        span = f"{low.ge:g} to {high.le:g}; " if low and high else ""
        usual = "needed" if field.is_required() else _shown(field.default)
        yield f"{under}{name}", usual, span + (field.description or "")


def _rows(under: str, kind: Any) -> Iterator[tuple[str, str, str]]:
    for field in dataclasses.fields(kind):
        name = f"{under}.{field.name}"
        if (table := _table(field.type)) is not None:
            yield from _rows(name, table)
            continue
        allows, span = _allows(field.type), allowed(name)
        if span is not None:
            what = "" if allows == "a number" else f"{allows}, "
            allows = f"{what}{span[0]:g} to {span[1]:g}"
        needed = field.default is dataclasses.MISSING
        yield name, "needed" if needed else _shown(field.default), allows


def _table(kind: Any) -> Any:
    """The dataclass that a type is or holds, None where there is none."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind
    return next((found for each in get_args(kind) if (found := _table(each)) is not None), None)


def _allows(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f'"{each}"' for each in get_args(kind))
    if "str" in str(kind):
        return "a colour, `#rrggbb`"
    if "tuple" in str(kind):
        return "a list of numbers"
    return {"bool": "true or false", "int": "a whole number"}.get(
        getattr(kind, "__name__", ""), "a number"
    )


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_shown(each) for each in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(given: object, path: Path) -> Kind:
    for kind in KINDS:
        if given == kind:
            return kind
    raise InvalidInput(
        f"{path}: look.kind: {given!r} was given, allowed are {', '.join(map(repr, KINDS))}"
    )
