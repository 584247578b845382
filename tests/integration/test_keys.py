"""Every route of HTTP and gRPC: what needs a key, a token or an operator works without none."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
from fastapi.routing import APIRoute
from grpc_status import rpc_status
from starlette.routing import Route

from avatar import errors
from avatar.bus.memory import MemoryBus
from avatar.cast.avatars import FOLDER
from avatar.cast.characters import CAST, Character
from avatar.transport.status import error_of
from services import keys
from services.gateway.accounts import Accounts
from services.gateway.guard import Guard
from services.gateway.http import make_app
from services.gateway.keyring import TOKEN_S, Keyring
from services.gateway.talk import TalkServer
from services.gateway.talker import Emit, Summary, Talker
from services.settings import AppConfig, Environment, Limits
from talkingmachines_api.v1 import talk_pb2, talk_pb2_grpc
from tests.fakes.calls import CallDesk, ManualClock, call_desk

pytestmark = pytest.mark.integration

PUBLIC = {
    "GET /healthz", "GET /readyz", "GET /", "GET /web/{name}", "GET /v1/avatars",
    "GET /v1/avatars/{name}/portrait.png", "GET /v1/avatars/{name}/preview.mp4",
    "GET /openapi.json", "HEAD /openapi.json",
}  # fmt: skip
KEY = {"POST /v1/say", "POST /v1/ask", "POST /v1/sessions", "POST /v1/tokens"}
OPERATOR = {"GET /metrics"}
SESSION = {
    "GET /v1/sessions/{id}", "DELETE /v1/sessions/{id}", "POST /v1/sessions/{id}/call",
    "DELETE /v1/sessions/{id}/call",
}  # fmt: skip
RPCS = {"Say": True, "Ask": True, "ListAvatars": False}
"""Whether it needs a key."""


class QuietTalker:
    """Answers everybody at once with nothing."""

    avatars = FOLDER

    def find(self, avatar: str) -> Character:
        return CAST[0]

    async def say(self, avatar: str, text: str, emit: Emit) -> None:
        await emit(Summary(0, 25.0, 0.0, 0.0, 0.0, ()))

    async def ask(self, avatar: str, question: bytes, emit: Emit) -> None:
        await emit(Summary(0, 25.0, 0.0, 0.0, 0.0, ()))


class Credentials:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = folder / "keys.toml"

        def add(*arguments: str) -> str:
            assert keys.main(["add", *arguments, "--file", str(path)]) == 0
            return capsys.readouterr().out.strip()

        self.key, self.operator = add("kiosk", "--sessions", "2"), add("ops", "--operator")
        self.clock = ManualClock(1.8e9)
        self.ring = Keyring(path, now=self.clock)
        self.guard = Guard(self.ring, Accounts(MemoryBus(), now=self.clock))
        self.expired = self.ring.token(self.ring.caller(self.key))
        self.clock.now += TOKEN_S + 1
        self.token = self.ring.token(self.ring.caller(self.key))


@pytest.fixture
def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Credentials:
    return Credentials(tmp_path, capsys)


@pytest.fixture
async def desk(shown: Credentials) -> AsyncIterator[CallDesk]:
    async with call_desk(guard=shown.guard, slots=9) as desk:
        yield desk


def routes(desk: CallDesk) -> Iterator[str]:
    for route in desk.app.routes:
        assert isinstance(route, APIRoute | Route)
        yield from (f"{method} {route.path}" for method in sorted(route.methods or ()))


def with_credential(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"} if credential else {}


async def ask(
    desk: CallDesk, route: str, credential: str, session: str = "s0", **options: Any
) -> httpx.Response:
    method, path = route.split()
    path = path.replace("{id}", session)
    return await desk.http.request(method, path, headers=with_credential(credential), **options)


async def opened(desk: CallDesk, credential: str) -> dict[str, Any]:
    response = await ask(desk, "POST /v1/sessions", credential)
    assert response.status_code == 201
    return cast(dict[str, Any], response.json())


def test_every_route_is_one_of_those_that_are_tried_here(shown: Credentials) -> None:
    app = make_app(cast(Talker, None), AppConfig(), Environment(), list, shown.guard)
    known = PUBLIC | KEY | OPERATOR | SESSION
    for route in app.routes:
        assert {f"{method} {route.path}" for method in route.methods} <= known  # type: ignore[attr-defined]


async def test_the_routes_of_calls_are_tried_here_as_well(desk: CallDesk) -> None:
    assert set(routes(desk)) == PUBLIC | KEY | OPERATOR | SESSION


@pytest.mark.parametrize("route", sorted(KEY | OPERATOR))
async def test_without_a_key_or_with_a_bad_one_nothing_happens(
    route: str, desk: CallDesk, shown: Credentials
) -> None:
    another = (await opened(desk, shown.key))["token"]
    for credential in ("", "tm_guessed", "tmt_a.b", shown.expired, another):
        answer = await ask(desk, route, credential)
        assert answer.status_code == 401, (route, credential)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["reason"] == "UNAUTHENTICATED"
    assert len(desk.lives) == 1


@pytest.mark.parametrize("route", sorted(SESSION))
async def test_a_session_is_for_its_own_token_alone(
    route: str, desk: CallDesk, shown: Credentials
) -> None:
    mine, other = await opened(desk, shown.key), await opened(desk, shown.token)
    for credential in ("", shown.key, shown.operator, shown.token, shown.expired, other["token"]):
        answer = await ask(desk, route, credential, mine["id"])
        assert answer.status_code == 401, (route, credential)
    assert (await ask(desk, "GET /v1/sessions/{id}", mine["token"], mine["id"])).is_success


@pytest.mark.parametrize("route", sorted(OPERATOR))
async def test_operators_things_are_for_operators(
    route: str, desk: CallDesk, shown: Credentials
) -> None:
    for credential in (shown.key, shown.token):
        answer = await ask(desk, route, credential)
        assert answer.status_code == 403
        assert answer.json()["reason"] == "PERMISSION_DENIED"
    assert (await ask(desk, route, shown.operator)).is_success


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/v1/avatars", "/openapi.json"])
async def test_what_is_public_asks_nobody(path: str, desk: CallDesk) -> None:
    assert (await desk.http.get(path)).status_code == 200


async def test_a_key_opens_sessions_and_so_does_its_token(
    desk: CallDesk, shown: Credentials
) -> None:
    made = await ask(desk, "POST /v1/tokens", shown.key)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert made.json()["expires_in_s"] == TOKEN_S
    await opened(desk, made.json()["token"])
    await opened(desk, shown.key)
    full = await ask(desk, "POST /v1/sessions", shown.key)
    assert full.status_code == 429
    assert full.json()["reason"] == "QUOTA_EXCEEDED"
    assert int(full.headers["retry-after"]) > 0
    await opened(desk, shown.operator)


async def test_a_token_makes_no_further_tokens(desk: CallDesk, shown: Credentials) -> None:
    """It would never run out otherwise."""
    answer = await ask(desk, "POST /v1/tokens", shown.token)
    assert answer.status_code == 403


async def test_a_server_without_keys_makes_no_tokens() -> None:
    async with call_desk() as desk:
        assert (await ask(desk, "POST /v1/tokens", "")).status_code == 400
        await opened(desk, "")


@asynccontextmanager
async def served(guard: Guard) -> AsyncIterator[grpc.aio.Channel]:
    server = TalkServer(cast(Talker, QuietTalker()), Limits(), guard)
    port = await server.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.close()


async def call(channel: grpc.aio.Channel, name: str, credential: str) -> None:
    """Raises the error that the server answers with."""
    stub = talk_pb2_grpc.TalkServiceStub(channel)
    metadata = tuple(with_credential(credential).items())
    try:
        match name:
            case "Say":
                async for _ in stub.Say(talk_pb2.SayRequest(text="Hello."), metadata=metadata):
                    pass
            case "Ask":
                config = talk_pb2.AskRequest(config=talk_pb2.AskConfig(avatar_id=""))
                async for _ in stub.Ask(iter([config]), metadata=metadata):
                    pass
            case _:
                await stub.ListAvatars(talk_pb2.ListAvatarsRequest(), metadata=metadata)
    except grpc.RpcError as error:
        status = rpc_status.from_call(cast(grpc.Call, error))
        raise cast(errors.AvatarError, error_of(status)) from error


async def test_every_method_of_grpc(shown: Credentials) -> None:
    service = talk_pb2.DESCRIPTOR.services_by_name["TalkService"]
    assert {method.name for method in service.methods} == RPCS.keys()
    async with served(shown.guard) as channel:
        for name, needs_key in RPCS.items():
            for credential in ("", "tm_guessed", shown.expired):
                if needs_key:
                    with pytest.raises(errors.Unauthenticated):
                        await call(channel, name, credential)
                else:
                    await call(channel, name, credential)
            for credential in (shown.key, shown.token, shown.operator):
                await call(channel, name, credential)


async def test_a_quota_is_refused_over_grpc_by_its_name(shown: Credentials) -> None:
    caller = shown.guard.caller(with_credential(shown.key))
    async with shown.guard.using(caller), shown.guard.using(caller), served(shown.guard) as channel:
        with pytest.raises(errors.QuotaExceeded) as refused:
            await call(channel, "Say", shown.key)
    assert refused.value.quota == "sessions"
    assert refused.value.retry_after_s > 0
