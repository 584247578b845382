"""Every route of HTTP and gRPC: what needs a key, a token or an operator works without none."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fastapi.routing import APIRoute
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from starlette.routing import Route

import talkingmachines as tm
from avatar import errors
from avatar.bus.memory import MemoryBus
from avatar.transport.status import error_of
from services import keys
from services.gateway.accounts import Accounts
from services.gateway.guard import Guard
from services.gateway.http import make_app
from services.gateway.keyring import TOKEN_S, Keyring
from services.gateway.rpc.live import Talks
from services.gateway.rpc.talk import TalkService
from services.gateway.talker import Talker
from services.settings import AppConfig, Environment, Limits
from talkingmachines_api.v1 import talk_pb2_grpc
from tests.fakes.calls import CallDesk, ManualClock, call_desk
from tests.fakes.rpc import QuietTalker, RpcDesk, rpc_desk, served

pytestmark = pytest.mark.integration

PUBLIC = {
    "GET /healthz", "GET /readyz", "GET /", "GET /web/{name}", "GET /v1/avatars",
    "GET /v1/avatars/{name}/portrait.png", "GET /v1/avatars/{name}/preview.mp4",
    "GET /watch", "GET /openapi.json", "HEAD /openapi.json", "GET /v1/avatars/{name}",
}  # fmt: skip
KEY = {"POST /v1/say", "POST /v1/ask", "POST /v1/sessions", "POST /v1/tokens"}
OPERATOR = {
    "GET /metrics", "GET /v1/sessions", "POST /v1/avatars", "DELETE /v1/avatars/{name}",
    "GET /v1/operations", "GET /v1/operations/{id}", "DELETE /v1/operations/{id}",
}  # fmt: skip
SESSION = {
    "GET /v1/sessions/{id}", "DELETE /v1/sessions/{id}", "POST /v1/sessions/{id}/call",
    "DELETE /v1/sessions/{id}/call", "POST /v1/sessions/{id}/viewer-tokens",
    "DELETE /v1/sessions/{id}/viewer-tokens",
}  # fmt: skip
VIEWER = {
    "GET /v1/sessions/{id}/viewers", "POST /v1/sessions/{id}/viewers",
    "DELETE /v1/sessions/{id}/viewers/{viewer}",
}  # fmt: skip
RPCS = {
    "TalkService/Say": "key",
    "TalkService/Ask": "key",
    "TalkService/Render": "key",
    "TalkService/Talk": "session",
    "TalkService/ListAvatars": "anybody",
    "SessionService/CreateSession": "key",
    "SessionService/GetSession": "session",
    "SessionService/InterruptSession": "session",
    "SessionService/SwapAvatar": "session",
    "SessionService/DeleteSession": "session",
    "SessionService/CreateViewerToken": "session",
    "SessionService/DeleteViewerTokens": "session",
    "SessionService/CreateToken": "key itself",
    "SessionService/ListSessions": "operator",
    "AvatarService/ListAvatars": "anybody",
    "AvatarService/GetAvatar": "anybody",
    "AvatarService/CreateAvatar": "operator",
    "AvatarService/DeleteAvatar": "operator",
    "AvatarService/GetOperation": "operator",
    "AvatarService/WatchOperation": "operator",
    "AvatarService/ListOperations": "operator",
    "AvatarService/CancelOperation": "operator",
    "OperatorService/ListWorkers": "operator",
    "OperatorService/DrainWorker": "operator",
}
"""Who may call each RPC; one that is not here fails the tests below."""


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
    known = PUBLIC | KEY | OPERATOR | SESSION | VIEWER
    for route in app.routes:
        assert {f"{method} {route.path}" for method in route.methods} <= known  # type: ignore[attr-defined]


async def test_the_routes_of_calls_are_tried_here_as_well(desk: CallDesk) -> None:
    assert set(routes(desk)) == PUBLIC | KEY | OPERATOR | SESSION | VIEWER


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


@pytest.mark.parametrize("route", sorted(SESSION | VIEWER))
async def test_a_session_is_for_its_own_token_alone(
    route: str, desk: CallDesk, shown: Credentials
) -> None:
    mine, other = await opened(desk, shown.key), await opened(desk, shown.token)
    for credential in ("", shown.key, shown.operator, shown.token, shown.expired, other["token"]):
        answer = await ask(desk, route, credential, mine["id"])
        assert answer.status_code == 401, (route, credential)
    assert (await ask(desk, "GET /v1/sessions/{id}", mine["token"], mine["id"])).is_success


async def test_a_viewer_token_watches_one_session_and_does_nothing_else(
    desk: CallDesk, shown: Credentials
) -> None:
    mine, other = await opened(desk, shown.key), await opened(desk, shown.key)
    make = "POST /v1/sessions/{id}/viewer-tokens"
    token = (await ask(desk, make, mine["token"], mine["id"])).json()["token"]
    for route in SESSION | KEY | OPERATOR:
        answer = await ask(desk, route, token, mine["id"])
        assert answer.status_code == 401, route
    for route in VIEWER:
        assert (await ask(desk, route, token, mine["id"])).status_code in (200, 404, 415), route
        assert (await ask(desk, route, token, other["id"])).status_code == 401, route


@pytest.mark.parametrize("route", sorted(OPERATOR))
async def test_operators_things_are_for_operators(
    route: str, desk: CallDesk, shown: Credentials
) -> None:
    for credential in (shown.key, shown.token):
        answer = await ask(desk, route, credential)
        assert answer.status_code == 403
        assert answer.json()["reason"] == "PERMISSION_DENIED"
    assert (await ask(desk, route, shown.operator)).status_code in (200, 404, 415), route


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/v1/avatars", "/openapi.json"])
async def test_what_is_public_asks_nobody(path: str, desk: CallDesk) -> None:
    assert (await desk.http.get(path)).status_code == 200


async def test_operators_see_whose_sessions_go_on(desk: CallDesk, shown: Credentials) -> None:
    first, second = await opened(desk, shown.key), await opened(desk, shown.operator)
    answer = await ask(desk, "GET /v1/sessions", shown.operator)
    assert [(each["id"], each["key"]) for each in answer.json()["sessions"]] == [
        (first["id"], "kiosk"),
        (second["id"], "ops"),
    ]
    assert answer.headers["cache-control"] == "no-store"
    for secret in (first["token"], second["token"], shown.key):
        assert secret not in answer.text
    await ask(desk, "DELETE /v1/sessions/{id}", first["token"], first["id"])
    answer = await ask(desk, "GET /v1/sessions", shown.operator)
    assert [each["key"] for each in answer.json()["sessions"]] == ["ops"]


async def test_the_log_says_whose_each_session_is_and_nothing_to_get_in_with(
    desk: CallDesk, shown: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mine = await opened(desk, shown.token)
    await ask(desk, "DELETE /v1/sessions/{id}", mine["token"], mine["id"])
    told = {record.getMessage(): getattr(record, "keys", {}) for record in caplog.records}
    for event in ("call_opened", "call_ended"):
        assert (told[event]["session"], told[event]["key"]) == (mine["id"], "kiosk")
    lines = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    for secret in (mine["token"], shown.token, shown.key):
        assert secret not in lines


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


@pytest.fixture
async def rpc(desk: CallDesk) -> AsyncIterator[RpcDesk]:
    async with served(desk) as made:
        yield made


def methods_of(address: str) -> dict[str, MethodDescriptor]:
    """Every RPC that the server itself says it has, by reflection."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        services = [pool.FindServiceByName(name) for name in database.get_services()]
    return {
        f"{service.name}/{method.name}": method
        for service in services
        if service.full_name.startswith("talkingmachines_api.")
        for method in service.methods
    }


async def call(
    channel: grpc.aio.Channel, method: MethodDescriptor, credential: str, session: str = "s0"
) -> errors.AvatarError | None:
    """The error that the server answers with; None where it does what was asked."""
    kind = message_factory.GetMessageClass(method.input_type)
    request: Any = kind()
    if "session_id" in method.input_type.fields_by_name:
        request.session_id = session
    for first in ("open", "config"):
        if first in method.input_type.fields_by_name:
            getattr(request, first).SetInParent()
    if method.name == "Talk":
        request.open.session_id = session
    path = f"/{method.containing_service.full_name}/{method.name}"
    talk: Any = channel.stream_stream(path, kind.SerializeToString, lambda answer: answer)
    answers = talk(iter([request]), metadata=tuple(with_credential(credential).items()))
    try:
        async for _ in answers:
            pass
    except grpc.RpcError as error:
        return error_of(rpc_status.from_call(cast(grpc.Call, error)))
    return None


async def test_every_rpc_has_a_rule_and_every_rule_an_rpc(rpc: RpcDesk) -> None:
    found = await asyncio.to_thread(methods_of, rpc.address)
    assert found.keys() == RPCS.keys()


async def test_no_rpc_works_for_who_may_not(rpc: RpcDesk, shown: Credentials) -> None:
    methods = await asyncio.to_thread(methods_of, rpc.address)
    mine, other = await opened(rpc.desk, shown.key), await opened(rpc.desk, shown.token)
    make = "POST /v1/sessions/{id}/viewer-tokens"
    viewer = (await ask(rpc.desk, make, mine["token"], mine["id"])).json()["token"]
    nobody = ("", "tm_guessed", "tmt_a.b", shown.expired, other["token"], viewer)
    keys = (shown.key, shown.token, shown.operator)
    allowed: dict[str, tuple[str, ...]] = {
        "anybody": (*nobody, *keys, mine["token"]),
        "key": keys,
        "key itself": (shown.key, shown.operator),  # a token would never run out otherwise
        "operator": (shown.operator,),
        "session": (mine["token"],),
    }
    for name, method in methods.items():
        who = RPCS[name]
        for credential in (*nobody, *keys, mine["token"]):
            if credential in allowed[who]:
                continue
            error = await call(rpc.channel, method, credential, mine["id"])
            known = who in ("operator", "key itself") and credential in keys
            expected = errors.PermissionDenied if known else errors.Unauthenticated
            assert type(error) is expected, (name, credential)
    assert len(rpc.desk.lives) == 2  # nothing was opened, nothing has ended
    assert rpc.desk.lives[0].events == rpc.desk.lives[1].events == []
    assert rpc.desk.lives[0].peers == []
    assert [live.ended for live in rpc.desk.lives] == ["", ""]


async def test_every_rpc_works_for_who_may(rpc: RpcDesk, shown: Credentials) -> None:
    methods = await asyncio.to_thread(methods_of, rpc.address)
    mine = await opened(rpc.desk, shown.operator)
    allowed: dict[str, tuple[str, ...]] = {
        "anybody": ("", "tm_guessed"),
        "key": (shown.key, shown.token),
        "key itself": (shown.key,),
        "operator": (shown.operator,),
        "session": (mine["token"],),
    }
    refused = errors.Unauthenticated, errors.PermissionDenied
    last = "SessionService/DeleteSession"
    for name in sorted(methods, key=lambda name: name == last):
        for credential in allowed[RPCS[name]]:
            error = await call(rpc.channel, methods[name], credential, mine["id"])
            assert not isinstance(error, refused), (name, error)
    assert rpc.desk.lives[0].ended == "hung_up"


@asynccontextmanager
async def serving(guard: Guard) -> AsyncIterator[tuple[str, grpc.aio.Channel]]:
    async with rpc_desk(guard=guard, slots=9) as made:
        yield made.address, made.channel


async def test_a_quota_is_refused_over_grpc_by_its_name(shown: Credentials) -> None:
    caller = shown.guard.caller(with_credential(shown.key))
    async with (
        shown.guard.using(caller),
        shown.guard.using(caller),
        serving(shown.guard) as (address, channel),
    ):
        methods = await asyncio.to_thread(methods_of, address)
        for name in ("TalkService/Say", "SessionService/CreateSession"):
            refused = await call(channel, methods[name], shown.key)
            assert isinstance(refused, errors.QuotaExceeded)
            assert refused.quota == "sessions"
            assert refused.retry_after_s > 0


async def test_the_sdk_shows_its_key(shown: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(shown.guard) as (address, _):
        for key, refusal in (("", tm.Unauthenticated), ("tm_guessed", tm.Unauthenticated)):
            async with tm.AsyncClient(address, key=key) as client:
                with pytest.raises(refusal):
                    [step async for step in client.say("Hello.")]
        async with tm.AsyncClient(address, key=shown.key) as client:
            assert [step async for step in client.say("Hello.")]
        monkeypatch.setenv("TALKINGMACHINES_KEY", shown.key)
        with tm.Client(address) as client:
            assert await asyncio.to_thread(lambda: list(client.say("Hello.")))
        caller = shown.guard.caller(with_credential(shown.key))
        async with shown.guard.using(caller), shown.guard.using(caller):
            async with tm.AsyncClient(address) as client:
                with pytest.raises(tm.QuotaExceeded, match="2 sessions"):
                    [step async for step in client.say("Hello.")]


async def test_the_sdk_has_tokens_made_for_who_shall_not_see_its_key(shown: Credentials) -> None:
    async with serving(shown.guard) as (address, _):
        async with tm.AsyncClient(address, key=shown.key) as client:
            made = await client.create_token()
        assert made.lifetime_s == TOKEN_S
        async with tm.AsyncClient(address, key=made.token) as client:
            assert [step async for step in client.say("Hello.")]
            with pytest.raises(tm.PermissionDenied):
                await client.create_token()
            shown.clock.now += TOKEN_S
            with pytest.raises(tm.Unauthenticated, match="run out"):
                [step async for step in client.say("Hello.")]


@pytest.mark.parametrize("key", ["two words", "zwölf", "tab\tbed"])
def test_the_sdk_refuses_what_can_be_no_key(key: str) -> None:
    with pytest.raises(tm.InvalidInput, match="copy it whole"):
        tm.Client(key=key)


async def test_the_command_line_has_the_key_from_a_file_and_speaks_tls(
    shown: Credentials, tmp_path: Path
) -> None:
    certificate, private = self_signed(tmp_path)
    credentials = grpc.ssl_server_credentials([(private.read_bytes(), certificate.read_bytes())])
    server = grpc.aio.server()
    service = TalkService(cast(Talker, QuietTalker()), cast(Talks, None), Limits(), shown.guard)
    talk_pb2_grpc.add_TalkServiceServicer_to_server(service, server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    key_file = tmp_path / "key"

    async def run(*options: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "talkingmachines", "say", "Hello.", "--json",
            "--out", str(tmp_path / "out.mp4"), "--server", f"localhost:{port}", *options,
            env={"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, noted = await process.communicate()
        return process.returncode, said.decode() or noted.decode()

    try:
        status, said = await run("--tls")
        assert (status, json.loads(said)["error"]["reason"]) == (6, "UNAUTHENTICATED")
        key_file.write_text(shown.key + "\n")
        status, said = await run("--tls", "--key-file", str(key_file))
        assert status == 0, said
        status, _ = await run("--key-file", str(key_file))
        assert status == 3  # in the clear nobody answers there
        status, said = await run("--key-file", str(tmp_path / "none"))
        assert status == 2
        assert "none" in said
    finally:
        await server.stop(grace=None)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost and its private key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "private.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
