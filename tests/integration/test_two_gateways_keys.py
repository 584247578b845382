"""Two gateways with keys, over HTTP and gRPC: both ask for the same, and answer the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avatar import errors
from avatar.bus import WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.media import SessionId, WorkerId
from services.gateway.forward import Forwarder
from services.gateway.neighbours import FORWARDED
from services.gateway.recipes import Recipes
from services.settings import Limits
from tests.fakes.avatars import DESCRIBED
from tests.fakes.callers import (
    KEY,
    OPERATOR,
    RPCS,
    SESSION,
    VIEWER,
    Credentials,
    ask,
    call,
    methods_of,
    opened,
)
from tests.fakes.calls import CallDesk, served_desk
from tests.fakes.recipe import GatedRecipe
from tests.fakes.rpc import RpcDesk, served

pytestmark = pytest.mark.integration

OWNER, OTHER = WorkerId("gateway-1"), WorkerId("gateway-2")
AS_IF_FORWARDED = {FORWARDED: "gateway-9"}
OPERATION = {route for route in OPERATOR if "/operations/{id}" in route}
SESSION_RPCS = sorted(name for name, who in RPCS.items() if who == "session")
OPERATION_RPCS = ("GetOperation", "WatchOperation", "CancelOperation")


@dataclass
class Two:
    """`owner` has the sessions and operations, `other` is asked about them."""

    bus: MemoryBus
    owner: CallDesk
    other: CallDesk
    owner_rpc: RpcDesk
    other_rpc: RpcDesk

    async def open(self, credential: str) -> dict[str, Any]:
        """A session of the owner, leased as the coordinator would."""
        made = await opened(self.owner, credential)
        [info] = [each for each in await self.bus.workers("gateway") if each.worker == OWNER]
        assert await self.bus.acquire(SessionId(made["id"]), info) is not None
        return made

    async def make(self, credential: str) -> str:
        """An operation of the owner, which goes on."""
        made = await self.owner.http.post(
            "/v1/avatars",
            content=DESCRIBED.format(id="nova", title="Nova"),
            headers={"authorization": f"Bearer {credential}", "content-type": "application/toml"},
        )
        assert made.status_code == 202, made.text
        return str(made.json()["id"])


@pytest.fixture
def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Credentials:
    return Credentials(tmp_path, capsys)


@pytest.fixture
async def two(shown: Credentials, tmp_path: Path) -> AsyncIterator[Two]:
    bus = MemoryBus()
    recipes = Recipes(description=GatedRecipe(tmp_path / "gate"))
    async with AsyncExitStack() as stack:
        desks: list[CallDesk] = []
        rpcs: list[RpcDesk] = []
        for worker in (OWNER, OTHER):
            forwarder = Forwarder(bus, worker, Limits())
            stack.push_async_callback(forwarder.close)
            desk = await stack.enter_async_context(
                served_desk(
                    bus=bus,
                    worker=worker,
                    elsewhere=forwarder,
                    guard=shown.guard,
                    slots=9,
                    avatars=tmp_path / "avatars",
                    recipes=recipes,
                )
            )
            rpc = await stack.enter_async_context(served(desk))
            url = str(desk.http.base_url).rstrip("/")
            info = WorkerInfo(worker, "gateway", "", 99, http=url, grpc=rpc.private)
            await bus.advertise(info, 60)
            desks.append(desk)
            rpcs.append(rpc)
        yield Two(bus, desks[0], desks[1], rpcs[0], rpcs[1])


def untouched(live: Any) -> bool:
    """Nobody got at the session."""
    return (live.events, live.peers, live.ended) == ([], [], "")


@pytest.mark.parametrize("route", sorted(SESSION | VIEWER))
async def test_a_session_is_the_same_at_either_gateway(
    route: str, two: Two, shown: Credentials
) -> None:
    answers = []
    for desk in (two.owner, two.other):
        mine = await two.open(shown.operator)
        answer = await ask(desk, route, mine["token"], mine["id"])
        answers.append((answer.status_code, answer.headers.get("content-type")))
    assert answers[0] == answers[1]
    assert answers[0][0] in (200, 201, 204, 404, 415)
    assert two.other.lives == []


@pytest.mark.parametrize("route", sorted(SESSION | VIEWER))
async def test_neither_gateway_lets_anybody_else_at_a_session(
    route: str, two: Two, shown: Credentials
) -> None:
    mine, another = await two.open(shown.operator), await two.open(shown.operator)
    bad = ("", shown.key, shown.operator, shown.token, shown.expired, another["token"])
    for credential in bad:
        for desk in (two.owner, two.other):
            answer = await ask(desk, route, credential, mine["id"])
            assert answer.status_code == 401, (route, credential)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["reason"] == "UNAUTHENTICATED"
        pretended = await ask(two.owner, route, credential, mine["id"], AS_IF_FORWARDED)
        assert pretended.status_code == 401
    assert all(map(untouched, two.owner.lives))


@pytest.mark.parametrize("route", sorted(KEY | OPERATOR))
async def test_to_have_been_sent_on_is_no_key(route: str, two: Two, shown: Credentials) -> None:
    another = (await two.open(shown.operator))["token"]
    id = f"x.{OWNER}"
    for desk in (two.owner, two.other):
        for credential in ("", "tm_guessed", shown.expired, another):
            for more in ({}, AS_IF_FORWARDED):
                answer = await ask(desk, route, credential, id, more)
                assert answer.status_code == 401, (route, credential, more)
    assert len(two.owner.lives) == 1
    assert two.other.lives == []


@pytest.mark.parametrize("route", sorted(OPERATION))
async def test_an_operation_is_for_operators_at_either_gateway(
    route: str, two: Two, shown: Credentials
) -> None:
    id = await two.make(shown.operator)
    for desk in (two.other, two.owner):
        for credential, status in ((shown.expired, 401), (shown.key, 403), (shown.token, 403)):
            assert (await ask(desk, route, credential, id)).status_code == status
    assert two.owner.workshop.get(id).state == "running"
    for desk in (two.other, two.owner):
        answer = await ask(desk, route, shown.operator, id)
        assert (answer.status_code, answer.json()["id"]) == (200, id)
    assert two.other.workshop.all() == []


async def test_every_rpc_of_a_session_is_the_same_at_either_gateway(
    two: Two, shown: Credentials
) -> None:
    methods = await asyncio.to_thread(methods_of, two.other_rpc.address)
    for name in SESSION_RPCS:
        ends = []
        for rpc in (two.owner_rpc, two.other_rpc):
            mine = await two.open(shown.operator)
            ends.append(await call(rpc.channel, methods[name], mine["token"], mine["id"]))
            live = two.owner.lives[-1]
            if name == "TalkService/Talk":
                assert len(live.peers) == 1
            assert (live.ended == "hung_up") == (name == "SessionService/DeleteSession")
            await ask(two.owner, "DELETE /v1/sessions/{id}", mine["token"], mine["id"])
        assert type(ends[0]) is type(ends[1]), name
        assert not isinstance(ends[1], errors.Unauthenticated | errors.NotFound), name
    assert two.other.lives == []


async def test_no_rpc_lets_anybody_else_in_at_either_gateway(two: Two, shown: Credentials) -> None:
    methods = await asyncio.to_thread(methods_of, two.other_rpc.address)
    mine, another = await two.open(shown.operator), await two.open(shown.operator)
    id = await two.make(shown.operator)
    nobody = ("", "tm_guessed", shown.expired, another["token"])
    for name, who in RPCS.items():
        if who == "anybody":
            continue
        keys = (shown.key, shown.operator) if who == "session" else ()
        for credential in (*nobody, *keys):
            for rpc, more in (
                (two.owner_rpc, {}),
                (two.other_rpc, {}),
                (two.owner_rpc, AS_IF_FORWARDED),
            ):
                method = methods[name]
                error = await call(rpc.channel, method, credential, mine["id"], id, more)
                assert isinstance(error, errors.Unauthenticated), (name, credential)
    assert all(map(untouched, two.owner.lives))
    assert two.owner.workshop.get(id).state == "running"


async def test_operations_are_for_operators_over_grpc_at_either_gateway(
    two: Two, shown: Credentials
) -> None:
    methods = await asyncio.to_thread(methods_of, two.other_rpc.address)
    id = await two.make(shown.operator)
    cancel = methods["AvatarService/CancelOperation"]
    for name in OPERATION_RPCS:
        for rpc in (two.other_rpc, two.owner_rpc):
            method = methods[f"AvatarService/{name}"]
            error = await call(rpc.channel, method, shown.key, operation=id)
            assert isinstance(error, errors.PermissionDenied), name
    assert two.owner.workshop.get(id).state == "running"
    assert await call(two.other_rpc.channel, cancel, shown.operator, operation=id) is None
    assert two.owner.workshop.get(id).state == "cancelled"
    for name in OPERATION_RPCS:
        for rpc in (two.other_rpc, two.owner_rpc):
            method = methods[f"AvatarService/{name}"]
            assert await call(rpc.channel, method, shown.operator, operation=id) is None, name
    assert two.other.workshop.all() == []
