"""TalkService.Talk: one connection of a session's caller, from `open` to its end."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

from avatar.errors import AvatarError, DeadlineExceeded, InvalidInput
from avatar.telemetry.logging import bound, get_logger
from services.gateway.call import Call
from services.gateway.calls import Calls
from services.gateway.keyring import bearer
from services.gateway.own_reply import ReplySpeech
from services.gateway.rpc.border import headers_of
from services.gateway.rpc.owner import Owners, Theirs, asked
from services.gateway.rpc.peer import RpcPeer
from services.gateway.rpc.pieces import Ears, event_of, reply_of
from services.gateway.rpc.states import session_of
from services.settings import AppConfig
from talkingmachines_api.v1 import live_pb2, talk_pb2_grpc

log = get_logger(__name__)

PARTING_S: Final = 1.0
"""How long who was told of the end has to half-close."""
Requests = AsyncIterator[live_pb2.TalkRequest]


class Talks:
    """Connects callers to their sessions, here or at the gateway that has them."""

    def __init__(self, calls: Calls, owners: Owners, config: AppConfig) -> None:
        self._calls = calls
        self._owners = owners
        self._config = config

    async def talk(self, requests: Requests, context: Any) -> None:
        """Serve one connection.

        Raises:
            InvalidInput: The first message is no `open`; CreditExceeded is one of these.
            DeadlineExceeded: None came in time.
            Unauthenticated: The token is not the session's.
            NotFound: There is no such session, or it has ended.
            TooManyAttempts: The session had too many connections of late.
        """
        opening = await _first(requests, self._config.limits.open_s)
        theirs = await self._owners.of_session(context, self._calls, opening.session_id)
        if theirs is not None:
            await asked(lambda: _relay(theirs, opening, requests, context))
            return
        call = self._calls.find(opening.session_id, bearer(headers_of(context)))
        with bound(session=call.id):
            await self._serve(call, opening, requests, context)

    async def _serve(
        self, call: Call, opening: live_pb2.TalkOpen, requests: Requests, context: Any
    ) -> None:
        peer = RpcPeer(
            opening,
            call.audience.feed,
            lambda: session_of(call, self._config),
            lambda: call.live.backlog_s,
            call.lost,
        )
        reader = _Reader(call, peer)
        tasks: list[asyncio.Task[Any]] = []
        try:
            self._calls.join(call, peer)
            writing = asyncio.create_task(_write(peer, context))
            reading = asyncio.create_task(reader.read(requests))
            gone = asyncio.create_task(peer.gone.wait())
            tasks += writing, reading, gone
            await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
            # grpc.aio tells who is cut off while it sends of an "Internal error from Core"
            await asyncio.wait({reading}, timeout=PARTING_S)
            if reader.error is not None:
                raise reader.error
        finally:
            call.lost(peer)
            peer.close()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            peer.gone.set()


async def _first(requests: Requests, patience_s: float) -> live_pb2.TalkOpen:
    try:
        async with asyncio.timeout(patience_s):
            request = await anext(requests, None)
    except TimeoutError as error:
        raise DeadlineExceeded(f"open was not sent within {patience_s:g} s") from error
    if request is None or request.WhichOneof("message") != "open":
        raise InvalidInput("send open first, with the session's id")
    return request.open


async def _write(peer: RpcPeer, context: Any) -> None:
    """All that is put into the outbox; a caller who has gone ends it."""
    async for message in peer.outbox.messages():
        await context.write(message)


class _Reader:
    """Takes what the caller sends; `error` is what ended the talk."""

    def __init__(self, call: Call, peer: RpcPeer) -> None:
        self.error: AvatarError | None = None
        self._call = call
        self._peer = peer
        self._ears = Ears()

    async def read(self, requests: Requests) -> None:
        """Until the caller hangs up; what comes after the talk's end is not looked at."""
        try:
            async for request in requests:
                if self.error is None:
                    try:
                        self._take(request)
                    except AvatarError as error:
                        self.error = error
                        self._call.lost(self._peer)
        except AvatarError as error:  # what came is no message of this call
            self.error = self.error or error
        if self.error is None:
            self._peer.tell({"type": "avatar.ended", "reason": "hung_up"})
        self._call.lost(self._peer)

    def _take(self, request: live_pb2.TalkRequest) -> None:
        """Raises CreditExceeded: who does not keep to the credit is not talked with."""
        call, peer = self._call, self._peer
        match request.WhichOneof("message"):
            case "microphone":
                call.takes(peer, lambda: self._hear(request.microphone), is_event=False)
            case "reply":
                self._take_reply(request.reply)
            case "interrupt":
                name = request.interrupt.request_id
                call.takes(peer, lambda: peer.interrupted(name, call.silenced()))
            case _:
                try:
                    events = event_of(request)
                except AvatarError as error:
                    call.takes(peer, partial(_raise, error))
                    return
                for event in events:
                    call.does(peer, event)

    def _hear(self, piece: live_pb2.PcmPiece) -> None:
        self._call.heard(self._peer, self._ears.push(piece))

    def _take_reply(self, message: live_pb2.ReplyPiece) -> None:
        call, peer = self._call, self._peer
        try:
            piece = reply_of(message)
        except AvatarError as error:
            call.takes(peer, partial(_raise, error))
            return
        if isinstance(piece, ReplySpeech):
            peer.credit.take(piece.samples.size / piece.sample_rate)
        is_event = not isinstance(piece, ReplySpeech)
        call.takes(peer, lambda: call.reply(piece), is_event=is_event)


def _raise(error: AvatarError) -> None:
    raise error


async def _relay(
    theirs: Theirs, opening: live_pb2.TalkOpen, requests: Requests, context: Any
) -> None:
    """Pass everything on, both ways; each waits for who reads it."""

    async def all_requests() -> Requests:
        yield live_pb2.TalkRequest(open=opening)
        async for request in requests:
            yield request

    stub = talk_pb2_grpc.TalkServiceStub(theirs.channel)
    async for response in stub.Talk(all_requests(), metadata=theirs.metadata):
        await context.write(response)
