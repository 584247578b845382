"""What operators see of a server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session, without anything that is said in it.

    `key` is the name of the key on whose account it is, empty where the server asks for none.
    """

    id: str
    key: str
    avatar: str
    state: str
    age_s: float
    connected: bool
    viewers: int


@dataclass(frozen=True, slots=True)
class SessionList:
    """All sessions, but those of gateways that did not answer."""

    sessions: tuple[SessionSummary, ...]
    silent_gateways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a worker measured at its start.

    The next chunks, `chunk_s` long, of `together` sessions cost it `cost_s`, computed in one go;
    there is time for `sessions` sessions.
    """

    chunk_s: float
    cost_s: float
    together: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of one stage; a draining one takes no new sessions.

    `slots` are the sessions it takes at once; `measured` is None where it did not measure for how
    many it has time. `avatars` are those in its memory.
    """

    id: str
    stage: str
    slots: int
    sessions: int
    draining: bool
    avatars: tuple[str, ...] = ()
    measured: Capacity | None = None
