"""No more calls at once than the server can hold; one more is told so, and when to come back."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from avatar.errors import Busy
from services.gateway.rpc.border import abort

RETRY_S: Final = 2.0


class CallLimit(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Counts calls of our services, whose methods are coroutines.

    gRPC's own `maximum_concurrent_rpcs` refuses without a reason that programs could read.
    """

    def __init__(self, package: str, most: int) -> None:
        self._prefix = f"/{package}."
        self._most = most
        self._num = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefix):
            return handler
        kind = (
            f"{'stream' if handler.request_streaming else 'unary'}_"
            f"{'stream' if handler.response_streaming else 'unary'}"
        )
        return handler._replace(**{kind: self._counted(getattr(handler, kind))})

    def _counted(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def serve(request: Any, context: Any) -> Any:
            if self._num >= self._most:
                await abort(
                    context,
                    Busy(f"{self._most} calls at once, as many as this server takes", RETRY_S),
                )
            self._num += 1
            try:
                return await behaviour(request, context)
            finally:
                self._num -= 1

        return serve
