"""TalkService.Talk: one connection of a session's caller, from `open` to its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
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

FIRST_S: Final = 10.0
"""How long a caller has to say which session it wants."""
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
            Unauthenticated: The token is not the session's.
            NotFound: There is no such session, or it has ended.
            TooManyAttempts: The session had too many connections of late.
        """
        opening = await _first(requests)
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
        reading: asyncio.Task[None] | None = None
        writing: asyncio.Task[None] | None = None
        try:
            self._calls.join(call, peer)
            writing = asyncio.create_task(_write(peer, context))
            reading = asyncio.create_task(_read(requests, call, peer))
            gone = asyncio.create_task(peer.gone.wait())
            try:
                await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
            if reading.done() and not reading.cancelled():
                reading.result()  # what was wrong with what the caller sent
        finally:
            call.lost(peer)
            peer.close()
            for task in (reading, writing):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await task
            peer.gone.set()


async def _first(requests: Requests) -> live_pb2.TalkOpen:
    try:
        async with asyncio.timeout(FIRST_S):
            request = await anext(requests, None)
    except TimeoutError as error:
        raise DeadlineExceeded(f"open was not sent within {FIRST_S:g} s") from error
    if request is None or request.WhichOneof("message") != "open":
        raise InvalidInput("send open first, with the session's id")
    return request.open


async def _write(peer: RpcPeer, context: Any) -> None:
    """All that is put into the outbox; a caller who has gone ends it."""
    async for message in peer.outbox.messages():
        await context.write(message)


async def _read(requests: Requests, call: Call, peer: RpcPeer) -> None:
    """What the caller sends, until it hangs up or sends what ends the talk."""
    ears = Ears()
    try:
        async for request in requests:
            _take(request, call, peer, ears)
        peer.tell({"type": "avatar.ended", "reason": "hung_up"})
    finally:
        call.lost(peer)


def _take(request: live_pb2.TalkRequest, call: Call, peer: RpcPeer, ears: Ears) -> None:
    match request.WhichOneof("message"):
        case "microphone":
            call.takes(
                peer, lambda: call.heard(peer, ears.push(request.microphone)), is_event=False
            )
        case "reply":
            _take_reply(request.reply, call, peer)
        case "interrupt":
            call.takes(
                peer, lambda: peer.interrupted(request.interrupt.request_id, call.silenced())
            )
        case _:
            try:
                events = event_of(request)
            except AvatarError as error:
                call.takes(peer, partial(_raise, error))
                return
            for event in events:
                call.does(peer, event)


def _take_reply(message: live_pb2.ReplyPiece, call: Call, peer: RpcPeer) -> None:
    """Raises CreditExceeded: who does not keep to the credit is not talked with."""
    try:
        piece = reply_of(message)
    except AvatarError as error:
        call.takes(peer, partial(_raise, error))
        return
    is_speech = isinstance(piece, ReplySpeech)
    if isinstance(piece, ReplySpeech):
        peer.credit.take(piece.samples.size / piece.sample_rate)
    call.takes(peer, lambda: call.reply(piece), is_event=not is_speech)


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
