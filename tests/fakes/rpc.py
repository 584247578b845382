"""The gRPC of a gateway whose sessions are fake; all between a socket and a session is real."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
from grpc_status import rpc_status

from avatar.cast.avatars import FOLDER
from avatar.cast.characters import CAST, Character
from avatar.media import WorkerId
from avatar.transport.status import error_of
from services.gateway.rpc import avatars, operator, sessions, talk
from services.gateway.rpc.avatars import AvatarService
from services.gateway.rpc.live import Talks
from services.gateway.rpc.operator import OperatorService
from services.gateway.rpc.owner import Owners
from services.gateway.rpc.server import MAX_CALLS, RpcServer
from services.gateway.rpc.sessions import SessionService
from services.gateway.rpc.talk import TalkService
from services.gateway.talker import Emit, Summary, Talker, VideoPiece
from services.gateway.workshop import Workshop
from talkingmachines_api.v1 import (
    avatar_pb2_grpc,
    live_pb2,
    operator_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    talk_pb2_grpc,
)
from tests.fakes.calls import CallDesk, call_desk

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # stubs lack it


class QuietTalker:
    """Answers everybody at once, with next to nothing."""

    avatars = FOLDER

    def find(self, avatar: str) -> Character:
        return CAST[0]

    async def say(self, avatar: str, text: str, emit: Emit) -> None:
        await emit(VideoPiece(b"video"))
        await emit(Summary(0, 25.0, 0.0, 0.0, 0.0, ()))

    async def ask(self, avatar: str, question: bytes, emit: Emit) -> None:
        await emit(Summary(0, 25.0, 0.0, 0.0, 0.0, ()))

    async def render(self, avatar: str, recording: bytes, emit: Emit) -> None:
        await emit(Summary(0, 25.0, 0.0, 0.0, 0.0, ()))


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


def error_in(error: grpc.RpcError) -> Any:
    """The error of ours that a call ended with."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    assert status is not None, error
    found = error_of(status)
    assert found is not None, error
    return found


class RpcClient:
    """Stubs of every service, and what tests ask them for again and again."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.sessions = session_pb2_grpc.SessionServiceStub(channel)
        self.talks: Any = talk_pb2_grpc.TalkServiceStub(channel)
        self.avatars: Any = avatar_pb2_grpc.AvatarServiceStub(channel)
        self.operator: Any = operator_pb2_grpc.OperatorServiceStub(channel)

    async def steps(
        self, token: str = "", **fields: Any
    ) -> list[session_pb2.CreateSessionResponse]:
        request = session_pb2.CreateSessionRequest(**fields)
        return [step async for step in self.sessions.CreateSession(request, metadata=bearer(token))]

    async def create(self, token: str = "", **fields: Any) -> session_pb2.CreatedSession:
        *_, last = await self.steps(token, **fields)
        return last.created

    @asynccontextmanager
    async def talk(
        self, created: session_pb2.CreatedSession, token: str | None = None, **options: Any
    ) -> AsyncIterator["RpcTalk"]:
        """A live talk; `options` are fields of `open`."""
        shown = created.token if token is None else token
        call = self.talks.Talk(metadata=bearer(shown))
        opening = live_pb2.TalkOpen(session_id=created.session.id, **options)
        try:
            await call.write(live_pb2.TalkRequest(open=opening))
            yield RpcTalk(call)
        finally:
            call.cancel()


class RpcDesk(RpcClient):
    """A gateway's gRPC and the desk behind it."""

    def __init__(
        self,
        desk: CallDesk,
        channel: grpc.aio.Channel,
        address: str,
        private: str,
        server: RpcServer,
    ) -> None:
        super().__init__(channel)
        self.desk = desk
        self.server = server
        self.address, self.private = address, private

    @property
    def workshop(self) -> Workshop:
        return self.desk.workshop


@dataclass
class RpcTalk:
    """One talk's client; what came so far is in `seen`."""

    call: Any
    seen: list[live_pb2.TalkResponse] = field(default_factory=list)

    async def send(self, **fields: Any) -> None:
        await self.call.write(live_pb2.TalkRequest(**fields))

    async def hang_up(self) -> None:
        await self.call.done_writing()

    async def next(self, *kinds: str) -> live_pb2.TalkResponse:
        """The next message of one of these kinds; an event's kind is `event.KIND`."""
        while True:
            message = await self.call.read()
            if message is EOF:
                await self._raise()
                raise EOFError(f"the talk ended; {kinds} never came")
            self.seen.append(message)
            if kind_of(message) in kinds:
                return cast(live_pb2.TalkResponse, message)

    async def rest(self) -> list[str]:
        """Read to the end; the kinds of what came, without sound and pictures."""
        kinds = []
        while (message := await self.call.read()) is not EOF:
            self.seen.append(message)
            kinds.append(kind_of(message))
        await self._raise()
        return [kind for kind in kinds if kind not in ("sound", "picture")]

    async def _raise(self) -> None:
        if await self.call.code() is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                await self.call.code(),
                await self.call.initial_metadata(),
                await self.call.trailing_metadata(),
                details=await self.call.details(),
                debug_error_string=None,
            )


def kind_of(message: live_pb2.TalkResponse) -> str:
    kind = str(message.WhichOneof("message"))
    return f"event.{message.event.WhichOneof('what')}" if kind == "event" else kind


@asynccontextmanager
async def rpc_desk(max_calls: int = MAX_CALLS, **options: Any) -> AsyncIterator[RpcDesk]:
    """Until the block ends; `options` are those of `call_desk`."""
    async with call_desk(**options) as desk, served(desk, max_calls) as made:
        yield made


@asynccontextmanager
async def served(desk: CallDesk, max_calls: int = MAX_CALLS) -> AsyncIterator[RpcDesk]:
    """The gRPC of a desk that is there."""
    owners = Owners(desk.bus, WorkerId(desk.once.worker))
    talks = Talks(desk.calls, owners, desk.config)
    talker = cast(Talker, QuietTalker())
    services = [
        talk.served(TalkService(talker, talks, desk.config.limits, desk.guard)),
        sessions.served(SessionService(desk.calls, desk.guard, desk.once, owners, desk.config)),
        avatars.served(AvatarService(desk.workshop, desk.guard, owners, desk.config)),
        operator.served(OperatorService(desk.bus, desk.guard)),
    ]
    server = RpcServer(services, max_calls, desk.config.limits.waiting_streams)
    port, private = await server.start("127.0.0.1", 0, "127.0.0.1")
    await server.set_ready(True)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield RpcDesk(desk, channel, f"127.0.0.1:{port}", private, server)
    finally:
        await server.close()
        await owners.close()
