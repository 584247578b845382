"""Edges inside one process: chunks pass by reference, with the semantics of the network."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from avatar.errors import AvatarError, ChannelClosed, Unavailable
from avatar.transport import Channel, Handler, OpenRequest
from avatar.transport.edge import End, InboundEnd, Message, serve


@dataclass
class MemoryNetwork:
    """Who listens where; transports of one process that share it can reach each other."""

    listeners: dict[str, tuple["MemoryTransport", Handler]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))


class MemoryTransport:
    """A `Transport` in process; its addresses read memory://1, memory://2, ..."""

    def __init__(self, network: MemoryNetwork | None = None) -> None:
        self._network = network or MemoryNetwork()
        self._handlers: set[asyncio.Task[AvatarError | None]] = set()
        self._channels: set[MemoryChannel] = set()
        self._is_closed = False

    async def listen(self, handler: Handler, /) -> str:
        self._refuse_if_closed()
        address = f"memory://{next(self._network.numbers)}"
        self._network.listeners[address] = (self, handler)
        return address

    async def connect(self, address: str, request: OpenRequest, /) -> Channel:
        self._refuse_if_closed()
        if address not in self._network.listeners:
            raise Unavailable(f"nobody listens at {address}")
        listener, handler = self._network.listeners[address]
        channel = MemoryChannel(request, self)
        self._channels.add(channel)
        listener.start(handler, channel)
        try:
            await channel.accepted
        except BaseException:
            await channel.close()
            raise
        return channel

    def start(self, handler: Handler, channel: "MemoryChannel") -> None:
        """Serve `channel` with `handler` until either is done."""
        task = asyncio.create_task(serve(handler, channel.inbound))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        # A callback, since a task that is cancelled before its first step runs no `finally`.
        task.add_done_callback(channel.handler_ended)

    def forget(self, channel: "MemoryChannel") -> None:
        self._channels.discard(channel)

    async def close(self) -> None:
        self._is_closed = True
        for address, (transport, _) in list(self._network.listeners.items()):
            if transport is self:
                del self._network.listeners[address]
        for channel in list(self._channels):
            await channel.close()
        handlers = list(self._handlers)
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Unavailable("this transport was closed; make a new one")


class MemoryChannel(End):
    """Both ends of one edge: itself the sending one, `inbound` the handler's."""

    def __init__(self, request: OpenRequest, transport: MemoryTransport) -> None:
        super().__init__(self._deliver, request.epoch)
        self.inbound = InboundEnd(request, self.arrive, self._accept)
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport

    async def close(self) -> None:
        self.give_up()
        self.inbound.lose(ChannelClosed("the sender has gone"))

    def handler_ended(self, task: asyncio.Task[AvatarError | None]) -> None:
        self.lose(ChannelClosed("the receiver has gone") if task.cancelled() else task.result())

    def lose(self, reason: AvatarError | None) -> None:
        super().lose(reason)
        self._transport.forget(self)
        if reason is None:
            self._accept()  # a handler that returns without a word has taken the edge, too
        elif not self.accepted.done():
            self.accepted.set_exception(reason)

    def _accept(self) -> None:
        if not self.accepted.done():
            self.accepted.set_result(None)

    def _deliver(self, message: Message) -> None:
        self.inbound.arrive(message)
