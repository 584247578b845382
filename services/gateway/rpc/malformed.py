"""Answers a request that is no valid protobuf with INVALID_ARGUMENT instead of a stack trace."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from avatar.errors import InvalidInput
from services.gateway.rpc.border import abort
from services.gateway.rpc.handlers import Serve, wrapped


@dataclass(frozen=True)
class _Malformed:
    """Stands where the request would have stood."""

    error: InvalidInput


class MalformedRequests(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Tells callers of our services, whose methods are coroutines, that their bytes are no request.

    By itself grpc.aio ends such a call with UNKNOWN and a traceback in the log.
    """

    def __init__(self, package: str) -> None:
        self._prefix = f"/{package}."

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefix):
            return handler
        checked = _stream if handler.request_streaming else _one
        deserializer = _tolerant(handler.request_deserializer)
        return wrapped(handler, checked, request_deserializer=deserializer)


def _one(behaviour: Serve) -> Serve:
    async def serve(request: Any, context: Any) -> Any:
        if isinstance(request, _Malformed):
            await abort(context, request.error)
        return await behaviour(request, context)

    return serve


def _stream(behaviour: Serve) -> Serve:
    async def serve(requests: AsyncIterator[Any], context: Any) -> Any:
        return await behaviour(_well_formed(requests), context)

    return serve


def _tolerant(deserializer: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def deserialize(content: bytes) -> Any:
        try:
            return deserializer(content)
        except DecodeError:
            return _Malformed(InvalidInput("the request is no protobuf of this call's type"))

    return deserialize


async def _well_formed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, _Malformed):
            raise request.error
        yield request
