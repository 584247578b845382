"""The three compute engines: one chunk in, one chunk out, state in, state out; no network."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from avatar.media import SessionId, Stamp

In = TypeVar("In")


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


REHEARSED = Stamp(SessionId("rehearsal"), 0, 0, 0, 0)


@dataclass(frozen=True)
class Rehearsal(Generic[In]):
    """What an engine is tried with before the first caller comes.

    `chunk` is one of silence, in a call with `avatar`. After `num_chunks` of them everything was
    run once that a session needs. `device` is where: cpu or cuda:N.
    """

    avatar: str
    chunk: In
    num_chunks: int = 2
    device: str = "cpu"
