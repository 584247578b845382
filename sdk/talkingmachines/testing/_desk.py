"""What the parts of a mock server share: its script, its sessions, and what it was asked."""

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict

from talkingmachines.testing._faults import Fault


@dataclass(frozen=True)
class MockAvatar:
    """Who can be called."""

    id: str
    display_name: str
    description: str
    is_shipped: bool = True


SHIPPED: Final = (
    MockAvatar("mira", "Mira", "A museum guide."),
    MockAvatar("otto", "Otto", "A retired clockmaker."),
)


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `fields` by their names in the protos, sound as its seconds."""

    rpc: str
    fields: Mapping[str, object]


@dataclass(eq=False)
class MockSession:
    """One session; `at` is its clock, in ticks of 1/48000 s."""

    id: str
    token: str
    avatar: str
    answers: int
    at: int = 0
    num_turns: int = 0
    epoch: int = 0
    connection: Any = None
    ended: str = ""
    viewer_tokens: list[str] = field(default_factory=list)
    viewer_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    items: list[tuple[str, str]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class Desk:
    """State of a mock server; `changed` guards and announces all of it."""

    def __init__(self, *, slots: int, key: str, transcript: str, reply: str) -> None:
        self.slots, self.key = slots, key
        self.transcript, self.reply = transcript, reply
        self.changed = threading.Condition()
        self.requests: list[Request] = []
        self.faults: dict[str, deque[Fault]] = {}
        self.sessions: dict[str, MockSession] = {}
        self.opened: dict[str, MockSession] = {}
        self.line: list[object] = []
        self.num_renders = 0
        self.hold_after: int | None = None
        self.draining: set[str] = set()
        self.tokens: set[str] = set()
        self.avatars = list(SHIPPED)
        self._numbers = itertools.count(1)

    def note(self, rpc: str, fields: Mapping[str, object]) -> None:
        with self.changed:
            self.requests.append(Request(rpc, fields))
            self.changed.notify_all()

    def note_message(self, rpc: str, message: Any) -> None:
        self.note(rpc, self.fields_of(message))

    def fields_of(self, message: Any) -> dict[str, object]:
        return MessageToDict(message, preserving_proto_field_name=True)

    def begin(self, rpc: str, request: Any, context: grpc.ServicerContext) -> None:
        """Writes the request down, and fails it where that was asked for."""
        self.note_message(rpc, request)
        self.fail_if_told(rpc, context)

    def fail_if_told(self, rpc: str, context: grpc.ServicerContext) -> None:
        with self.changed:
            waiting = self.faults.get(rpc)
            fault = waiting.popleft() if waiting else None
        if fault is not None:
            fault.end(context)

    def check_key(self, context: grpc.ServicerContext) -> None:
        """Of who opens something: the key, or a token made from it."""
        if self.key and bearer(context) not in {self.key, *self.tokens}:
            Fault("UNAUTHENTICATED", "This server asks for a key.").end(context)

    def check_operator(self, context: grpc.ServicerContext) -> None:
        """The key is an operator's too; tokens never are."""
        self.check_key(context)
        if self.key and bearer(context) != self.key:
            Fault("PERMISSION_DENIED", "This asks for an operator's key.").end(context)

    def make_token(self) -> str:
        with self.changed:
            token = f"token-of-the-key-{len(self.tokens) + 1}"
            self.tokens.add(token)
        return token

    def avatar_ids(self) -> list[str]:
        with self.changed:
            return [each.id for each in self.avatars]

    def check_avatar(self, avatar: str, context: grpc.ServicerContext) -> str:
        known = self.avatar_ids()
        if avatar and avatar not in known:
            message = f"No avatar {avatar!r}: there are {', '.join(known)}."
            Fault("NOT_FOUND", message).end(context)
        return avatar or known[0]

    def session(self, session_id: str, context: grpc.ServicerContext) -> MockSession:
        """The session, for the bearer of its token."""
        with self.changed:
            session = self.sessions.get(session_id)
        if session is None:
            Fault("NOT_FOUND", f"No session {session_id!r}: it has ended.").end(context)
        if bearer(context) != session.token:
            Fault("UNAUTHENTICATED", "This asks for the session's token.").end(context)
        return session

    def num_free(self) -> int:
        return self.slots - len(self.sessions) - self.num_renders

    def wake(self) -> None:
        """Lets all who wait look again."""
        with self.changed:
            self.changed.notify_all()

    def open_session(self, avatar: str, answers: int, key: str) -> MockSession:
        """With `changed` held, and a slot free."""
        number = next(self._numbers)
        session = MockSession(f"session-{number}", f"token-{number}", avatar, answers)
        self.sessions[session.id] = session
        if key:
            self.opened[key] = session
        self.changed.notify_all()
        return session

    def end_session(self, session: MockSession, reason: str) -> None:
        with self.changed:
            self.sessions.pop(session.id, None)
            session.ended = reason
            connection, session.connection = session.connection, None
            self.changed.notify_all()
        if connection is not None:
            connection.end(reason)


def bearer(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "authorization" and isinstance(value, str):
            return value.removeprefix("Bearer ")
    return ""
