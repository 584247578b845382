"""The gRPC server of a gateway: its services, health and reflection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from avatar.errors import Unavailable
from services.gateway.rpc.crowd import CallLimit, WaitingLimit
from services.gateway.rpc.malformed import MalformedRequests

PACKAGE: Final = "talkingmachines_api.v1"
MAX_CALLS: Final = 64
"""At once, besides those that may be long: talks, and callers who wait."""
MAX_WAITING: Final = 16
"""Streams of one address that wait, besides as many as there are slots."""
MAX_REQUEST_BYTES: Final = 4 << 20
"""Of one message; questions come in pieces."""
TALKS: Final = frozenset({f"/{PACKAGE}.TalkService/Talk"})
REFLECTION_V1: Final = "grpc.reflection.v1.ServerReflection"


@dataclass(frozen=True)
class Served:
    """One service, and how it is added to a server."""

    name: str
    add: Callable[[grpc.aio.Server], None]


def name_in(file: FileDescriptor, service: str) -> str:
    """The full name of a service."""
    name: str = file.services_by_name[service].full_name
    return name


class RpcServer:
    """Listens where people connect to, and where other gateways do; not ready before it is told."""

    def __init__(
        self,
        services: Sequence[Served],
        max_calls: int = MAX_CALLS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """`max_waiting`: streams of one address that ask for nothing; of all, half the calls."""
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]  # stubs lack aio
        self._names = [each.name for each in services]
        self._waiting = WaitingLimit(PACKAGE, TALKS, max_waiting, max(1, max_calls // 2))
        self._server = grpc.aio.server(
            # a question is held in memory before it is known whether a slot is free
            interceptors=[
                self._waiting,
                CallLimit(PACKAGE, max_calls),
                MalformedRequests(PACKAGE),
            ],
            options=[
                ("grpc.so_reuseport", 0),  # a port in use is an error, not a second listener
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.keepalive_time_ms", 10_000),  # a caller whose machine is gone is noticed
                ("grpc.keepalive_timeout_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_ping_strikes", 2),  # who pings more often is disconnected
                ("grpc.max_connection_idle_ms", 300_000),
                # of one connection; more than calls, for who is one too many is told so by those
                ("grpc.max_concurrent_streams", 4 * max_calls),
            ],
            maximum_concurrent_rpcs=3 * max_calls,
        )
        for each in services:
            each.add(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _reflect((*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    @property
    def num_waiting(self) -> int:
        """Streams that are open and ask for nothing."""
        return self._waiting.num

    async def start(self, host: str, port: int, private_host: str = "") -> tuple[int, str]:
        """Start to listen.

        Args:
            host: Where people connect to.
            port: Of it; the system chooses one where it is 0.
            private_host: Where other gateways do, on a port that the system chooses; "": nowhere.

        Returns:
            The port, and the address for other gateways.

        Raises:
            Unavailable: The port is in use.
        """
        await self.set_ready(False)
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise Unavailable(
                f"port {port} of {host} is in use; choose another one with GRPC_PORT"
            ) from error
        private = ""
        if private_host:
            name = f"[{private_host}]" if ":" in private_host else private_host
            private = f"{name}:{self._server.add_insecure_port(f'{name}:0')}"
        await self._server.start()
        return bound, private

    async def set_ready(self, ready: bool) -> None:
        """Health, for those who ask and those who watch."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        for name in ("", *self._names):
            await self._health.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def close(self) -> None:
        """Idempotent."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace=None)


def _reflect(names: Sequence[str], server: grpc.aio.Server) -> None:
    """Reflection by its old name, and by the one that clients ask for first: the same messages."""
    servicer: Any = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]  # stubs lack aio
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": handler}),)
    )
