"""No more calls at once than the server can hold; one more is told so, and when to come back."""

import ipaddress
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import unquote

import grpc

from avatar.errors import AvatarError, Busy, TooManyAttempts
from services.gateway.rpc.border import abort
from services.gateway.rpc.handlers import Serve, wrapped

RETRY_S: Final = 2.0
V6_PREFIX: Final = 64
"""Whoever has one address of IPv6 has all that begin with the same so many bits."""

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class CallLimit(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Counts calls of our services, whose methods are coroutines.

    gRPC's own `maximum_concurrent_rpcs` refuses without a reason that programs could read.
    """

    def __init__(self, package: str, most: int) -> None:
        self._prefix = f"/{package}."
        self._most = most
        self._num = 0

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefix):
            return handler
        return wrapped(handler, self._counted)

    def _counted(self, behaviour: Serve) -> Serve:
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


class WaitingLimit(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Few streams of one address, and in all, that cost their caller nothing to hold open.

    Those of health and reflection count as long as they are open, ours while requests are awaited:
    a file until it is complete, a talk until its first message.
    """

    def __init__(self, package: str, talks: frozenset[str], most_of_one: int, most: int) -> None:
        """`talks` are the methods, by path, that have begun with their first message."""
        self._prefix = f"/{package}."
        self._talks = talks
        self._most_of_one = most_of_one
        self._most = most
        self._num_of: Counter[str] = Counter()

    @property
    def num(self) -> int:
        """Streams that wait."""
        return self._num_of.total()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None or not (handler.request_streaming or handler.response_streaming):
            return handler
        if not method.startswith(self._prefix):
            return wrapped(handler, self._whole)
        if not handler.request_streaming:
            return handler
        return wrapped(handler, lambda serve: self._until_begun(serve, method in self._talks))

    def _whole(self, behaviour: Callable[[Any, Any], Any]) -> Serve:
        async def serve(request: Any, context: Any) -> None:
            place = await self._entered(context)
            try:
                await _written(behaviour(request, context), context)
            finally:
                place.leave()

        return serve

    def _until_begun(self, behaviour: Serve, first_is_enough: bool) -> Serve:
        async def serve(requests: AsyncIterator[Any], context: Any) -> Any:
            place = await self._entered(context)

            async def awaited() -> AsyncIterator[Any]:
                async for request in requests:
                    if first_is_enough:
                        place.leave()
                    yield request
                place.leave()

            try:
                return await behaviour(awaited(), context)
            finally:
                place.leave()

        return serve

    async def _entered(self, context: Any) -> "_Place":
        address = address_of(context.peer())
        refusal: AvatarError | None = None
        if self._num_of[address] >= self._most_of_one:
            refusal = TooManyAttempts(
                f"{self._most_of_one} streams of your address wait here, as many as may; end one, "
                "or send what it waits for",
                RETRY_S,
            )
        elif self.num >= self._most:
            refusal = Busy(f"{self._most} streams wait, as many as this server takes", RETRY_S)
        if refusal is not None:
            await abort(context, refusal)
        return _Place(self._num_of, address)


class _Place:
    """Of one stream that waits."""

    def __init__(self, num_of: Counter[str], address: str) -> None:
        self._num_of = num_of
        self._address = address
        self._is_left = False
        num_of[address] += 1

    def leave(self) -> None:
        """Idempotent."""
        if self._is_left:
            return
        self._is_left = True
        self._num_of[self._address] -= 1
        if not self._num_of[self._address]:
            del self._num_of[self._address]


async def _written(answer: Any, context: Any) -> None:
    """Serve by a coroutine or, as reflection does, by a generator."""
    if not isinstance(answer, AsyncGenerator):
        await answer
        return
    async with aclosing(answer) as responses:
        async for response in responses:
            await context.write(response)


def address_of(peer: str) -> str:
    """Whose a connection is, of what gRPC calls it: `ipv4:127.0.0.1:40000`, `ipv6:%5B::1%5D:40000`.

    Callers behind one proxy are one address; so are those in one network of IPv6.
    """
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return peer
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, V6_PREFIX), strict=False))
