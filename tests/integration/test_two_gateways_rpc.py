"""Two gateways over gRPC: any of them answers for any session and operation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from avatar import errors
from avatar.bus import WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.media import SessionId, WorkerId
from services.gateway.answer import Heard
from services.gateway.recipes import Recipes
from services.gateway.rpc.owner import FORWARDED
from talkingmachines_api.v1 import avatar_pb2, live_pb2, session_pb2
from tests.fakes.avatars import DESCRIBED
from tests.fakes.graph import until
from tests.fakes.recipe import GatedRecipe
from tests.fakes.rpc import RpcDesk, bearer, error_in, rpc_desk

pytestmark = pytest.mark.integration

OWNER, OTHER = WorkerId("gateway-1"), WorkerId("gateway-2")


@dataclass
class Pair:
    """`owner` has the sessions, `other` is asked about them."""

    bus: MemoryBus
    owner: RpcDesk
    other: RpcDesk

    async def create(self) -> session_pb2.CreatedSession:
        """A session of the owner, leased as the coordinator would."""
        created = await self.owner.create()
        [info] = [each for each in await self.bus.workers("gateway") if each.worker == OWNER]
        assert await self.bus.acquire(SessionId(created.session.id), info) is not None
        return created

    def get(self, created: session_pb2.CreatedSession, token: str | None = None) -> Any:
        """The owner's session, asked of the other."""
        request = session_pb2.GetSessionRequest(session_id=created.session.id)
        shown = created.token if token is None else token
        return self.other.sessions.GetSession(request, metadata=bearer(shown))


@asynccontextmanager
async def pair(folder: Path | None = None) -> AsyncIterator[Pair]:
    bus = MemoryBus()
    options: dict[str, Any] = {"bus": bus}
    if folder is not None:
        options |= {
            "avatars": folder / "avatars",
            "recipes": Recipes(description=GatedRecipe(folder / "gate")),
        }
    async with (
        rpc_desk(worker=OWNER, **options) as owner,
        rpc_desk(worker=OTHER, **options) as other,
    ):
        for worker, rpc in ((OWNER, owner), (OTHER, other)):
            await bus.advertise(WorkerInfo(worker, "gateway", "", 9, grpc=rpc.private), 60)
        yield Pair(bus, owner, other)


async def refused(call: object) -> errors.AvatarError:
    with pytest.raises(grpc.RpcError) as caught:
        await call  # type: ignore[misc]  # a call of grpc.aio
    return error_in(caught.value)


async def test_everything_about_a_session_is_asked_of_the_other_gateway() -> None:
    async with pair() as two:
        created = await two.create()
        shown, id = bearer(created.token), created.session.id
        assert (await two.get(created)).session.id == id
        two.owner.desk.live.heard_so_far = Heard("r", "One", 0.5)
        interrupt = session_pb2.InterruptSessionRequest(session_id=id)
        answer = await two.other.sessions.InterruptSession(interrupt, metadata=shown)
        assert answer.heard.text == "One"
        swap = session_pb2.SwapAvatarRequest(session_id=id, avatar_id="otto")
        await two.other.sessions.SwapAvatar(swap, metadata=shown)
        assert len(two.owner.desk.live.events) == 1
        watch = session_pb2.CreateViewerTokenRequest(session_id=id)
        viewer = await two.other.sessions.CreateViewerToken(watch, metadata=shown)
        calls = two.owner.desk.calls
        assert calls.find_watched(id, viewer.token).id == id
        alone = session_pb2.DeleteViewerTokensRequest(session_id=id)
        await two.other.sessions.DeleteViewerTokens(alone, metadata=shown)
        with pytest.raises(errors.Unauthenticated):
            calls.find_watched(id, viewer.token)
        delete = session_pb2.DeleteSessionRequest(session_id=id)
        await two.other.sessions.DeleteSession(delete, metadata=shown)
        assert two.owner.desk.sessions.present == set()
        assert two.other.desk.lives == []


async def test_a_talk_goes_through_the_other_gateway_both_ways() -> None:
    async with pair() as two:
        created = await two.create()
        async with two.other.talk(created) as talk:
            opened = (await talk.next("opened")).opened
            assert opened.session.id == created.session.id
            await talk.send(say=live_pb2.SayText(text="Hello."))
            await talk.next("sound")
            await talk.next("picture")
            await until(lambda: bool(two.owner.desk.live.events))
            await talk.send(interrupt=live_pb2.Interrupt(request_id="x"))
            assert (await talk.next("interrupted")).interrupted.request_id == "x"
            await talk.hang_up()
            assert (await talk.rest())[-1] == "event.ended"
        assert two.owner.desk.live.peer is None
        async with two.other.talk(created) as talk:
            await talk.next("opened")
        await until(lambda: two.owner.desk.live.peer is None)  # a caller who vanishes is missed


async def test_an_error_of_the_owner_is_the_same_error_here() -> None:
    async with pair() as two:
        created, another = await two.create(), await two.create()
        for token in ("", another.token):
            assert isinstance(await refused(two.get(created, token)), errors.Unauthenticated)
        async with two.other.talk(created) as talk:
            await talk.next("opened")
            two.owner.desk.lives[0].backlog_s = 9.0
            rate = 16_000
            speech = live_pb2.PcmPiece(samples=bytes(2 * rate), sample_rate_hertz=rate)
            for _ in range(3):
                await talk.send(reply=live_pb2.ReplyPiece(speech=speech))
            with pytest.raises(grpc.RpcError) as caught:
                await talk.rest()
            assert isinstance(error_in(caught.value), errors.CreditExceeded)


async def test_an_owner_that_is_gone_is_told_of() -> None:
    async with pair() as two:
        created = await two.create()
        dead = WorkerInfo(OWNER, "gateway", "", 9, grpc="127.0.0.1:1")
        await two.bus.advertise(dead, 60)
        assert isinstance(await refused(two.get(created)), errors.Unavailable)
        await two.bus.withdraw(OWNER)
        assert isinstance(await refused(two.get(created)), errors.NotFound)


async def test_a_request_is_sent_on_once() -> None:
    async with pair() as two:
        created = await two.create()
        request = session_pb2.GetSessionRequest(session_id=created.session.id)
        metadata = (*bearer(created.token), (FORWARDED, "gateway-3"))
        call = two.other.sessions.GetSession(request, metadata=metadata)
        assert isinstance(await refused(call), errors.NotFound)


async def test_an_idempotency_key_opens_one_session_at_whichever_gateway() -> None:
    async with pair() as two:
        first = await two.owner.create(idempotency_key="k")
        [info] = [each for each in await two.bus.workers("gateway") if each.worker == OWNER]
        await two.bus.acquire(SessionId(first.session.id), info)
        second = await two.other.create(idempotency_key="k")
        assert second.session.id == first.session.id
        assert second.token != first.token
        assert (await two.get(second)).session.id == first.session.id
        await two.bus.withdraw(OWNER)  # it is gone, and the session is
        third = await two.other.create(idempotency_key="k")
        assert len(two.other.desk.lives) == 1
        assert third.token


async def test_the_list_of_sessions_is_that_of_both_and_says_who_is_silent() -> None:
    async with pair() as two:
        created = await two.create()
        own = await two.other.create()
        ask = two.other.sessions.ListSessions
        listed = await ask(session_pb2.ListSessionsRequest())
        assert sorted(each.id for each in listed.sessions) == sorted(
            [created.session.id, own.session.id]
        )
        assert list(listed.silent_gateways) == []
        dead = WorkerInfo(WorkerId("gateway-3"), "gateway", "", 9, grpc="127.0.0.1:1")
        await two.bus.advertise(dead, 60)
        listed = await ask(session_pb2.ListSessionsRequest())
        assert list(listed.silent_gateways) == ["gateway-3"]
        assert len(listed.sessions) == 2


async def test_an_avatar_that_one_makes_is_watched_and_stopped_at_the_other(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as two:
        request = avatar_pb2.CreateAvatarRequest(
            description_toml=DESCRIBED.format(id="nova", title="Nova")
        )
        begun = (await two.owner.avatars.CreateAvatar(request)).operation
        assert isinstance(await refused(two.other.avatars.CreateAvatar(request)), errors.Busy)
        watch = avatar_pb2.WatchOperationRequest(operation_id=begun.id)
        async for step in two.other.avatars.WatchOperation(watch):
            if step.operation.progress == 0.5:
                break
        listed = await two.other.avatars.ListOperations(avatar_pb2.ListOperationsRequest())
        assert [each.id for each in listed.operations] == [begun.id]
        cancel = avatar_pb2.CancelOperationRequest(operation_id=begun.id)
        stopped = (await two.other.avatars.CancelOperation(cancel)).operation
        assert stopped.state == avatar_pb2.OPERATION_STATE_CANCELLED
