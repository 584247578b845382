"""A session of a benchmark."""

from dataclasses import dataclass

from avatar.cast.characters import DEFAULT_CHARACTER

WARM_UP = 3
"""Chunks whose times are not counted."""


@dataclass(frozen=True)
class Spec:
    avatar: str = DEFAULT_CHARACTER.id
    seed: int = 0
