"""Avatars that are made on a server: from what, and how far they are."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from talkingmachines._input import FileSource

OperationState = Literal["running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Consent:
    """That who is shown in a portrait agrees to it; the server keeps it with the avatar.

    `given_by` is who agrees, at most 200 characters; `statement` what to, at most 280.
    """

    given_by: str
    statement: str = ""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A photograph or painting, and whom it shows.

    `image` is a PNG, JPEG or WEBP, its bytes or its path, at most 3 MiB: one face, seen from the
    front, sharp. `avatar` is the new avatar's id: a-z, 0-9 and _, a letter first, 2 to 24 of them.
    `display_name` has 1 to 40 characters, `description` 1 to 160, and `persona`, who the language
    model is told to be, 1 to 4000.
    """

    image: FileSource
    avatar: str
    display_name: str
    description: str
    persona: str
    consent: Consent


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an avatar is.

    `share` of the work is done, 0 to 1; `left_s` is None until it is known; `stage` says in a line
    what is done now. A failed one says why in `reason` and `message`.
    """

    operation_id: str
    avatar: str
    state: OperationState
    stage: str
    share: float
    left_s: float | None
    created: datetime
    reason: str = ""
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.state != "running"


@dataclass(frozen=True, slots=True)
class OperationList:
    """All avatars that are being made or were, but those at gateways that did not answer."""

    operations: tuple[Progress, ...]
    silent_gateways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ViewerToken:
    """Lets others watch a session, and nothing else.

    The paths are below the server's HTTP address: `watch_path` is a page, with the token in it;
    `whep_path` is for a WHEP player, which sends the token as its bearer token.
    """

    token: str = field(repr=False)
    watch_path: str = field(repr=False)
    whep_path: str


@dataclass(frozen=True, slots=True)
class Token:
    """Stands for the key that made it, for `lifetime_s` seconds: it opens sessions."""

    token: str = field(repr=False)
    lifetime_s: float
