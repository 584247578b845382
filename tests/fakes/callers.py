"""Every route of HTTP and gRPC with who may use it, callers of all kinds, and how they ask."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import grpc
import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from starlette.routing import Route

from avatar import errors
from avatar.bus.memory import MemoryBus
from avatar.transport.status import error_of
from services import keys
from services.gateway.accounts import Accounts
from services.gateway.guard import Guard
from services.gateway.keyring import TOKEN_S, Keyring
from tests.fakes.calls import CallDesk, ManualClock

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


def routes(app: FastAPI) -> Iterator[str]:
    for route in app.routes:
        assert isinstance(route, APIRoute | Route)
        yield from (f"{method} {route.path}" for method in sorted(route.methods or ()))


def with_credential(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"} if credential else {}


async def ask(
    desk: CallDesk,
    route: str,
    credential: str,
    session: str = "s0",
    more: Mapping[str, str] = MappingProxyType({}),
) -> httpx.Response:
    """The answer to a request of that route, with an empty body; `more` are headers."""
    method, path = route.split()
    headers = {**with_credential(credential), **more}
    return await desk.http.request(method, path.replace("{id}", session), headers=headers)


async def opened(desk: CallDesk, credential: str) -> dict[str, Any]:
    response = await ask(desk, "POST /v1/sessions", credential)
    assert response.status_code == 201
    return cast(dict[str, Any], response.json())


def services_of(address: str) -> set[str]:
    """Every service that the server itself says it has, by reflection."""
    with grpc.insecure_channel(address) as channel:
        return set(ProtoReflectionDescriptorDatabase(channel).get_services())


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
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    credential: str,
    session: str = "s0",
    operation: str = "",
    more: Mapping[str, str] = MappingProxyType({}),
) -> errors.AvatarError | None:
    """The error that the server answers with; None where it does what was asked."""
    kind = message_factory.GetMessageClass(method.input_type)
    request: Any = kind()
    if "session_id" in method.input_type.fields_by_name:
        request.session_id = session
    if "operation_id" in method.input_type.fields_by_name:
        request.operation_id = operation
    for first in ("open", "config"):
        if first in method.input_type.fields_by_name:
            getattr(request, first).SetInParent()
    if method.name == "Talk":
        request.open.session_id = session
    path = f"/{method.containing_service.full_name}/{method.name}"
    talk: Any = channel.stream_stream(path, kind.SerializeToString, lambda answer: answer)
    answers = talk(iter([request]), metadata=tuple({**with_credential(credential), **more}.items()))
    try:
        async for _ in answers:
            pass
    except grpc.RpcError as error:
        return error_of(rpc_status.from_call(cast(grpc.Call, error)))
    return None
