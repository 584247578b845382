"""The health service of a mock server (grpc.health.v1)."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from talkingmachines._health import NOT_SERVING, SERVICE, SERVICE_UNKNOWN, SERVING
from talkingmachines_api.standard.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse


class Health:
    """Tells of all services alike."""

    def __init__(self, services: frozenset[str]) -> None:
        self._services = services
        self._is_ready = True
        self._is_over = False
        self._changed = threading.Condition()

    def set_ready(self, ready: bool) -> None:
        with self._changed:
            self._is_ready = ready
            self._changed.notify_all()

    def close(self) -> None:
        """Ends whoever watches."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        def handler(make: Any, behaviour: Any) -> Any:
            return make(
                behaviour,
                request_deserializer=HealthCheckRequest.FromString,
                response_serializer=HealthCheckResponse.SerializeToString,
            )

        methods = {
            "Check": handler(grpc.unary_unary_rpc_method_handler, self._check),
            "Watch": handler(grpc.unary_stream_rpc_method_handler, self._watch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _check(
        self, request: HealthCheckRequest, context: grpc.ServicerContext
    ) -> HealthCheckResponse:
        if request.service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        with self._changed:
            return self._state(request.service)

    def _watch(
        self, request: HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[HealthCheckResponse]:
        context.add_callback(self._wake)
        told: HealthCheckResponse | None = None
        while True:
            with self._changed:
                while (now := self._state(request.service)) == told and not self._is_over:
                    if not context.is_active():
                        return
                    self._changed.wait()
                is_over = self._is_over
            if now != told:
                yield now
                told = now
            if is_over:
                return

    def _state(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return HealthCheckResponse(status=SERVICE_UNKNOWN)
        is_ready = self._is_ready and not self._is_over
        return HealthCheckResponse(status=SERVING if is_ready else NOT_SERVING)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
