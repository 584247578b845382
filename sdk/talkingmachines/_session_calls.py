"""The calls that open, describe and end sessions."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import grpc

from talkingmachines import _live_wire as wire
from talkingmachines._avatars import ViewerToken
from talkingmachines._cancelled import is_being_cancelled
from talkingmachines._connection import Metadata, metadata_of
from talkingmachines._errors import ConnectionLost, ServerError, TalkError, Unavailable
from talkingmachines._exchange import Exchange
from talkingmachines._link import Link, LinkLost
from talkingmachines._session_info import SessionInfo, SessionOptions, Ticket, info_of
from talkingmachines._status import CallContext, error_of
from talkingmachines_api.v1 import live_pb2, session_pb2, session_pb2_grpc, talk_pb2_grpc

CLOSE_S: Final = 5.0
"""For the last call of a session; where it fails the server ends the session by itself."""
OPEN_S: Final = 10.0
R = TypeVar("R")
_DELAYS_S: Final = (0.0, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class SessionCalls:
    """Calls a server about sessions."""

    server: str
    metadata: Metadata
    deadline_s: float
    open_channel: Callable[[], grpc.aio.Channel]
    new_exchange: Callable[[], Exchange]

    async def create(self, options: SessionOptions) -> Ticket:
        """Opens a session, in turn where `options` has somebody wait in line.

        Raises:
            TalkError: There is none for us.
        """
        request = wire.create_session(
            options.avatar, options.answers, options.wait_in_line, uuid.uuid4().hex
        )
        exchange = self.new_exchange()
        while True:
            call = self._sessions().CreateSession(
                request, timeout=self.deadline_s, metadata=self.metadata
            )
            creation = _Creation(options)
            reading = asyncio.create_task(creation.read(call))
            try:
                return await asyncio.shield(reading)
            except grpc.RpcError as error:
                delay_s = exchange.delay_before_retry_s(error)
            except asyncio.CancelledError:
                await self._give_up(creation, reading)
                raise
            finally:
                call.cancel()
            await asyncio.sleep(delay_s)

    async def _give_up(self, creation: "_Creation", reading: "asyncio.Task[Ticket]") -> None:
        """Nobody wants the session any more; outside of a line it is nearly there, or refused.

        If it were cancelled then, the server might have sent it already, and keep it for a while.
        """
        if not creation.is_in_line:
            await asyncio.wait({reading}, timeout=CLOSE_S)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        if creation.ticket is not None:
            await self.delete(creation.ticket)

    async def describe(self, ticket: Ticket) -> SessionInfo:
        request = session_pb2.GetSessionRequest(session_id=ticket.session_id)
        answer = await self._asked(self._sessions().GetSession, request, ticket)
        return info_of(answer.session)

    async def create_viewer_token(self, ticket: Ticket) -> ViewerToken:
        request = session_pb2.CreateViewerTokenRequest(session_id=ticket.session_id)
        answer = await self._asked(self._sessions().CreateViewerToken, request, ticket)
        return ViewerToken(answer.token, answer.watch_path, answer.whep_path)

    async def delete_viewer_tokens(self, ticket: Ticket) -> None:
        request = session_pb2.DeleteViewerTokensRequest(session_id=ticket.session_id)
        await self._asked(self._sessions().DeleteViewerTokens, request, ticket)

    async def delete(self, ticket: Ticket) -> None:
        """Ends the session, if it can be reached."""
        request = session_pb2.DeleteSessionRequest(session_id=ticket.session_id)
        try:
            await self._sessions().DeleteSession(
                request, timeout=CLOSE_S, metadata=metadata_of(ticket.token)
            )
        except (grpc.RpcError, ValueError):  # gone already, or the client is closed
            pass
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise

    async def link(
        self, ticket: Ticket, options: SessionOptions
    ) -> tuple[Link, live_pb2.TalkOpened]:
        """Connects to the session.

        Raises:
            TalkError: It did not come about.
        """
        opening = wire.open_talk(ticket.session_id, options.sound, options.pictures)
        talk: talk_pb2_grpc.TalkServiceAsyncStub = talk_pb2_grpc.TalkServiceStub(
            self.open_channel()
        )
        # cast: the stubs want all requests at once, and these are written as they come up
        link = Link(cast(Any, talk.Talk)(metadata=metadata_of(ticket.token)))
        try:
            async with asyncio.timeout(OPEN_S):
                try:
                    await link.write(opening)
                except LinkLost:
                    pass  # reading tells why
                first = await link.read()
            if first is None or first.WhichOneof("message") != "opened":
                raise ServerError(f"{self.server} did not open the talk: see its log.")
            link.grant(first.opened.reply_credit.granted_milliseconds)
            return link, first.opened
        except BaseException as error:
            link.lose()
            if isinstance(error, TimeoutError):
                raise ConnectionLost(
                    f"{self.server} did not open the talk within {OPEN_S:g} s."
                ) from None
            if isinstance(error, grpc.RpcError):
                raise self.fault(error) from error
            raise

    async def link_again(
        self, ticket: Ticket, options: SessionOptions, grace_s: float
    ) -> tuple[Link, live_pb2.TalkOpened]:
        """Connects anew after a break, as long as the server keeps the session.

        Raises:
            ConnectionLost: The server cannot be reached in that time.
            TalkError: The session is gone.
        """
        give_up_at = time.monotonic() + grace_s
        for delay_s in itertools.chain(_DELAYS_S, itertools.repeat(_DELAYS_S[-1])):
            await asyncio.sleep(delay_s)
            try:
                return await self.link(ticket, options)
            except Unavailable as error:
                if time.monotonic() > give_up_at:
                    raise ConnectionLost(
                        f"The connection to {self.server} was lost, and did not come back within"
                        f" {grace_s:g} s: open a new session. ({error})"
                    ) from error
        raise AssertionError("unreachable")

    async def _asked(self, call: Callable[..., Awaitable[R]], request: object, ticket: Ticket) -> R:
        try:
            return await call(request, timeout=self.deadline_s, metadata=metadata_of(ticket.token))
        except grpc.RpcError as error:
            raise self.fault(error) from error

    def fault(self, error: grpc.RpcError, num_steps: int = 0) -> TalkError:
        return error_of(error, CallContext(self.server, self.deadline_s, num_steps))

    def _sessions(self) -> "session_pb2_grpc.SessionServiceAsyncStub":
        return session_pb2_grpc.SessionServiceStub(self.open_channel())


class _Creation:
    """A session on its way."""

    def __init__(self, options: SessionOptions) -> None:
        self.ticket: Ticket | None = None
        self.is_in_line = False
        self._options = options

    async def read(self, call: Any) -> Ticket:
        """Reads to the end: who cancels before the session is there gives it up."""
        try:
            async for step in call:
                if step.WhichOneof("step") == "created":
                    self.ticket = Ticket(step.created.session.id, step.created.token)
                    continue
                self.is_in_line = True
                if self._options.on_place is not None:
                    self._options.on_place(wire.place_of(step.place))
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise ConnectionLost("The client was closed before the session was open.") from None
        if self.ticket is None:
            raise ServerError("The server ended the call without a session: see its log.")
        return self.ticket
