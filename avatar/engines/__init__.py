"""The three compute engines: one chunk in, one chunk out, state in, state out; no network."""

from dataclasses import dataclass
from typing import Protocol


class SessionSpec(Protocol):
    """What an engine must know of a session to begin."""

    @property
    def avatar(self) -> str: ...

    @property
    def seed(self) -> int:
        """Key of all noise and of the idle movements."""
        ...


@dataclass(frozen=True)
class Spec:
    """A SessionSpec for who runs engines outside of a call."""

    avatar: str
    seed: int
