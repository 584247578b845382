"""The mock server and its controls."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from talkingmachines.testing._avatars import Avatars
from talkingmachines.testing._desk import Desk, Request
from talkingmachines.testing._faults import Fault
from talkingmachines.testing._health import Health
from talkingmachines.testing._services import Talk
from talkingmachines.testing._session_services import Operators, Sessions
from talkingmachines_api.v1 import (
    avatar_pb2,
    avatar_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    talk_pb2,
    talk_pb2_grpc,
)

__all__ = ["MockServer", "Request"]

_MAX_CALLS = 100
_SERVICES = frozenset(
    {
        "",
        talk_pb2.DESCRIPTOR.services_by_name["TalkService"].full_name,
        session_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
        avatar_pb2.DESCRIPTOR.services_by_name["AvatarService"].full_name,
        operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name,
    }
)


class MockServer:
    """A server that always answers the same, on 127.0.0.1, while its `with` block runs.

    Its avatars are mira and otto, and those that are made with it: one is a step further each time
    somebody looks, and ready after two. What they say sounds as a tone, 0.3 s a word, and is sent
    as fast as it is read. Of the microphone two seconds are a turn, unless push_to_talk says where
    it ends; what was said in it is always `transcript`, and the answer `reply`.

    Args:
        slots: Sessions at once.
        port: Of 127.0.0.1; 0 for a free one.
        key: The key it asks for; empty for none. It is an operator's too.
        transcript: What is heard.
        reply: What is answered.
    """

    def __init__(
        self,
        *,
        slots: int = 2,
        port: int = 0,
        key: str = "",
        transcript: str = "What is your name?",
        reply: str = "I am Mira.",
    ) -> None:
        self._desk = Desk(slots=slots, key=key, transcript=transcript, reply=reply)
        self._pool = ThreadPoolExecutor(max_workers=_MAX_CALLS)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        self._health = Health(_SERVICES)
        talk_pb2_grpc.add_TalkServiceServicer_to_server(Talk(self._desk), self._server)
        session_pb2_grpc.add_SessionServiceServicer_to_server(Sessions(self._desk), self._server)
        self._avatars = Avatars(self._desk)
        avatar_pb2_grpc.add_AvatarServiceServicer_to_server(self._avatars, self._server)
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(Operators(self._desk), self._server)
        self._server.add_generic_rpc_handlers((self._health.handlers(),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every call; a second time does nothing."""
        self.release()
        self._health.close()
        self._server.stop(grace=None).wait()
        self._pool.shutdown()

    # What happened

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in order of arrival; those in a talk are "Talk.say" and so on."""
        with self._desk.changed:
            return list(self._desk.requests)

    @property
    def sessions(self) -> list[str]:
        """Ids of the sessions that there are."""
        with self._desk.changed:
            return sorted(self._desk.sessions)

    def wait_for(self, rpc: str, count: int = 1, timeout_s: float = 10.0) -> bool:
        """Whether that many requests of that name have come, or come in time."""

        def have_come() -> bool:
            return sum(request.rpc == rpc for request in self._desk.requests) >= count

        with self._desk.changed:
            return self._desk.changed.wait_for(have_come, timeout_s)

    def wait_empty(self, timeout_s: float = 10.0) -> bool:
        """Whether every slot is free, or will be in time."""
        desk = self._desk
        with desk.changed:
            return desk.changed.wait_for(lambda: desk.num_free() == desk.slots, timeout_s)

    # What shall happen

    def fail(
        self,
        rpc: str,
        reason: str = "",
        message: str = "The mock server was asked to fail.",
        *,
        retry_after_s: float | None = None,
        position: int | None = None,
        quota: str = "",
    ) -> None:
        """The next call of `rpc` fails, such as "Say" or "CreateSession".

        Args:
            rpc: Name of the call.
            reason: Which error; empty for a connection that breaks.
            message: What it says.
            retry_after_s: When to come back, where it tells that.
            position: Place in line, where it tells that.
            quota: What was used up, where it tells that.
        """
        fault = Fault(reason, message, retry_after_s, position, quota)
        with self._desk.changed:
            self._desk.faults.setdefault(rpc, deque()).append(fault)

    def spoil(self, reason: str, message: str = "The mock server was asked to fail.") -> None:
        """The avatar that is made next, or now, fails half way."""
        self._avatars.spoil(Fault(reason, message))

    def drop_connections(self) -> int:
        """Breaks every talk as a lost network does; the sessions stay. Returns how many."""
        with self._desk.changed:
            connections = [s.connection for s in self._desk.sessions.values() if s.connection]
        for connection in connections:
            connection.break_off(Fault())
        return len(connections)

    def hold(self, after_words: int = 0) -> None:
        """From now on playback of each answer stands still after so many words, a video's at once.

        So does the making of an avatar, half way.

        An interruption counts there, not before: what was heard is then known.
        """
        with self._desk.changed:
            self._desk.hold_after = after_words
            self._desk.changed.notify_all()

    def release(self) -> None:
        """Playback goes on."""
        with self._desk.changed:
            self._desk.hold_after = None
            self._desk.changed.notify_all()

    def end_session(self, session_id: str, reason: str = "time_limit") -> None:
        """Ends a session as the server does; raises KeyError if there is none."""
        self._desk.end_session(self._desk.sessions[session_id], reason)

    def set_ready(self, ready: bool) -> None:
        """What it tells of its health."""
        self._health.set_ready(ready)
