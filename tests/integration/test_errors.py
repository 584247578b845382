"""Every error of the catalogue, provoked where its callers are: over gRPC, HTTP, or an edge."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest

from avatar import errors
from avatar.bus.memory import MemoryBus
from avatar.cast.avatars import APPEARANCE
from avatar.errors import AvatarError
from avatar.media import SessionId, WorkerId
from avatar.transport import Inbound, OpenRequest
from avatar.transport.grpc import GrpcTransport
from services.gateway.accounts import Accounts
from services.gateway.guard import Guard
from services.gateway.keyring import Keyring, digest_of
from services.gateway.recipes import Recipes, recipes_of
from services.settings import AppConfig, Limits
from services.worker import SessionHost
from talkingmachines_api.v1 import avatar_pb2, live_pb2, session_pb2
from tests.fakes import graph as graphs
from tests.fakes.avatars import DESCRIBED, write_own
from tests.fakes.calls import call_desk
from tests.fakes.engines import GatedPainter
from tests.fakes.graph import Parts, fake_graph, silent_wav, spoken_question
from tests.fakes.offers import REAL, without_channel
from tests.fakes.recipe import GatedRecipe
from tests.fakes.rpc import bearer, error_in, rpc_desk
from tests.fakes.speech import GivenRecognizer

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Told:
    """What a caller is told: the reason, and a gRPC or HTTP status."""

    reason: str
    status: str | int

    @classmethod
    def over_http(cls, response: httpx.Response) -> "Told":
        assert response.headers["content-type"] == "application/problem+json"
        return cls(response.json()["reason"], response.status_code)


async def told(call: Awaitable[Any]) -> Told:
    """What a call of gRPC ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    error = cast(grpc.aio.AioRpcError, caught.value)
    return Told(error_in(error).reason, error.code().name)


Provoke = Callable[[Path, pytest.MonkeyPatch], Awaitable[Told]]
PROVOKED: dict[type[AvatarError], Provoke] = {}


def provokes(kind: type[AvatarError]) -> Callable[[Provoke], Provoke]:
    def add(provoke: Provoke) -> Provoke:
        assert kind not in PROVOKED
        PROVOKED[kind] = provoke
        return provoke

    return add


def tree(root: type[AvatarError]) -> Iterator[type[AvatarError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


@pytest.mark.parametrize("kind", list(tree(AvatarError)), ids=lambda kind: kind.reason)
async def test_every_error_can_be_met(
    kind: type[AvatarError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = await PROVOKED[kind](tmp_path, monkeypatch)
    assert met.reason == kind.reason
    assert met.status == (kind.grpc_status if isinstance(met.status, str) else kind.http_status)


# --- what a caller gives ------------------------------------------------------------------------


@provokes(errors.InvalidInput)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with fake_graph() as graph:
        return await told(graph.say(" "))


@provokes(errors.TooLarge)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with fake_graph() as graph:
        return Told.over_http(await graph.http.post("/v1/say", json={"text": "a" * 2001}))


@provokes(errors.WrongMethod)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with call_desk() as desk:
        response = await desk.http.put("/v1/sessions")
        assert response.headers["allow"]
        return Told.over_http(response)


@provokes(errors.WrongType)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with call_desk() as desk:
        return Told.over_http(await desk.http.post("/v1/say", content=b"Hello."))


@provokes(errors.WrongRange)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with call_desk() as desk:
        response = await desk.http.get("/", headers={"range": "bytes=999999999-"})
        assert response.headers["content-range"].startswith("bytes */")
        return Told.over_http(response)


@provokes(errors.NoSpeech)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with fake_graph() as graph:
        return await told(graph.ask(silent_wav(2.0)))


@provokes(errors.NotFound)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with fake_graph() as graph:
        return await told(graph.say("Hello.", "nobody"))


@provokes(errors.KeyReused)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk() as rpc:
        await rpc.create(idempotency_key="k")
        return await told(rpc.create(idempotency_key="k", avatar_id="otto"))


@provokes(errors.CreditExceeded)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk() as rpc, rpc.talk(await rpc.create()) as talk:
        rpc.desk.live.backlog_s = 9.0
        piece = live_pb2.PcmPiece(samples=bytes(32_000), sample_rate_hertz=16_000)
        for _ in range(3):
            await talk.send(reply=live_pb2.ReplyPiece(speech=piece))
        return await told(talk.rest())


# --- what this server does not do ---------------------------------------------------------------


@provokes(errors.NotOffered)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk(can_leave_answers=False) as rpc:
        return await told(rpc.create(answers=session_pb2.ANSWERS_CLIENT))


async def _create(recipes: Recipes, **fields: Any) -> Told:
    async with rpc_desk(recipes=recipes) as rpc:
        return await told(rpc.avatars.CreateAvatar(avatar_pb2.CreateAvatarRequest(**fields)))


@provokes(errors.PortraitNotTaken)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    return await _create(recipes_of(AppConfig()), portrait=avatar_pb2.Portrait(avatar_id="nova"))


@provokes(errors.DescriptionNotTaken)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    described = DESCRIBED.format(id="nova", title="Nova")
    return await _create(recipes_of(AppConfig(profile="marker")), description_toml=described)


@provokes(errors.ConsentMissing)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    recipes = Recipes(portrait=GatedRecipe(folder / "gate"))
    return await _create(recipes, portrait=avatar_pb2.Portrait(avatar_id="nova"))


# --- who asks, and how much ---------------------------------------------------------------------


@provokes(errors.Unauthenticated)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk() as rpc:
        created = await rpc.create()
        request = session_pb2.GetSessionRequest(session_id=created.session.id)
        return await told(rpc.sessions.GetSession(request, metadata=bearer("guessed")))


@provokes(errors.PermissionDenied)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk() as rpc:
        request = avatar_pb2.DeleteAvatarRequest(avatar_id="mira")
        return await told(rpc.avatars.DeleteAvatar(request))


@provokes(errors.Busy)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk(slots=1) as rpc:
        await rpc.create()
        return await told(rpc.create())


@provokes(errors.QuotaExceeded)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    keys = folder / "keys.toml"
    keys.write_text(f'[kiosk]\nsha256 = "{digest_of("tm_key")}"\nsessions = 1\n')
    guard = Guard(Keyring(keys), Accounts(MemoryBus()))
    async with rpc_desk(guard=guard, slots=9) as rpc:
        await rpc.create("tm_key")
        return await told(rpc.create("tm_key"))


@provokes(errors.TooManyAttempts)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk(limits=Limits(connects_per_minute=1)) as rpc:
        created = await rpc.create()
        async with rpc.talk(created) as talk:
            await talk.next("opened")
            async with rpc.talk(created) as second:
                return await told(second.rest())


@provokes(errors.TooManyViewers)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk(limits=Limits(viewers=0)) as rpc:
        created = await rpc.create()
        headers = {
            "authorization": f"Bearer {created.token}",
            "content-type": "application/sdp",
        }
        path = f"/v1/sessions/{created.session.id}/viewers"
        offer = without_channel(REAL["chromium-listening"])
        return Told.over_http(await rpc.desk.http.post(path, content=offer, headers=headers))


# --- what breaks --------------------------------------------------------------------------------


@provokes(errors.AvatarError)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    async with rpc_desk() as rpc:
        patch.setattr(rpc.desk.calls, "_make_live", broken)
        return await told(rpc.create())


@provokes(errors.CorruptFile)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    (write_own(folder, "nova") / APPEARANCE).write_bytes(b"half")
    async with rpc_desk(avatars=folder) as rpc:
        request = avatar_pb2.GetAvatarRequest(avatar_id="nova")
        return await told(rpc.avatars.GetAvatar(request))


@provokes(errors.Unavailable)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with rpc_desk() as rpc:
        await rpc.desk.calls.close()
        return await told(rpc.create())


@provokes(errors.NotReady)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async with fake_graph(ready=False) as graph:
        response = await graph.http.get("/readyz")
        assert response.json()["waiting_for"]
        return Told.over_http(response)


@provokes(errors.ModelServerUnreachable)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    is_gone = asyncio.Event()

    class Remote(GivenRecognizer):
        def transcribe(self, samples: Any, /, hint: str = "") -> str:
            if is_gone.is_set():
                raise errors.ModelServerUnreachable("nobody answers at http://127.0.0.1:1")
            return self.words

    patch.setattr(graphs, "GivenRecognizer", Remote)
    async with fake_graph() as graph:
        is_gone.set()
        return await told(graph.ask(spoken_question()))


@provokes(errors.DeadlineExceeded)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    painter = GatedPainter()
    painter.gate.set()
    limits = Limits(chunk_s=1.0)
    async with fake_graph(limits=limits, parts=Parts(painter=lambda: painter)) as graph:
        painter.gate.clear()
        try:
            return await told(graph.say("Hello."))
        finally:
            painter.gate.set()


@provokes(errors.SessionLost)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    painter = GatedPainter()
    painter.gate.set()
    async with fake_graph(parts=Parts(painter=lambda: painter)) as graph:
        painter.gate.clear()
        painter.reached.clear()
        saying = asyncio.create_task(told(graph.say("Hello.")))
        try:
            await asyncio.to_thread(painter.reached.wait, 30)
            [session] = graph.gateway.coordinator.sessions
            await graph.gateway.wiring.bus.forget(session)
            return await saying
        finally:
            painter.gate.set()


# --- between the stages: their callers are gateways, over gRPC ----------------------------------


async def _raised(call: Awaitable[object]) -> Told:
    """What the edge's end raises, which got it as a status of gRPC."""
    with pytest.raises(AvatarError) as caught:
        await call
    return Told(caught.value.reason, caught.value.grpc_status)


@provokes(errors.Fenced)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async def serve(inbound: Inbound, lease: object) -> None:
        await inbound.receive()

    stage, gateway = GrpcTransport(), GrpcTransport()
    host = SessionHost("score_worker", WorkerId("w"), MemoryBus(), stage, slots=1)
    info = await host.start(serve)
    try:
        channel = await gateway.connect(info.address, OpenRequest(SessionId("s"), 1, "mira", 0))
        return await _raised(channel.receive())
    except errors.Fenced as refused:  # told as soon as the edge is opened
        return Told(refused.reason, refused.grpc_status)
    finally:
        await gateway.close()
        await host.close()


@provokes(errors.ChannelClosed)
async def _(folder: Path, patch: pytest.MonkeyPatch) -> Told:
    async def serve(inbound: Inbound) -> None:
        await inbound.receive()

    stage, gateway = GrpcTransport(), GrpcTransport()
    try:
        address = await stage.listen(serve)
        channel = await gateway.connect(address, OpenRequest(SessionId("s"), 1, "mira", 0))
        await stage.close()
        return await _raised(channel.receive())
    finally:
        await gateway.close()
