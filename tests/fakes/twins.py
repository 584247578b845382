"""The SDK's blocking half with the awaitable methods of its twin: one test for both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import talkingmachines as tm


class Awaitable:
    """Every method of `blocking`, run in a thread; iterating and leaving its block too."""

    def __init__(self, blocking: Any) -> None:
        self.blocking = blocking

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.blocking, name)
        if not callable(member):
            return member

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(member, *args, **kwargs)

        return call

    async def __aenter__(self) -> "Awaitable":
        await asyncio.to_thread(self.blocking.__enter__)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self.blocking.__exit__, *error)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _each(self.blocking)

    def events(self) -> AsyncIterator[Any]:
        return _each(self.blocking.events())

    def frames(self) -> AsyncIterator[Any]:
        return _each(self.blocking.frames())


class AwaitableClient(Awaitable):
    """A Client whose sessions are awaitable too."""

    def __init__(self, server: str, **options: Any) -> None:
        super().__init__(tm.Client(server, **options))

    def session(self, *args: Any, **kwargs: Any) -> Awaitable:
        return Awaitable(self.blocking.session(*args, **kwargs))

    def resume(self, *args: Any, **kwargs: Any) -> Awaitable:
        return Awaitable(self.blocking.resume(*args, **kwargs))

    def render(self, *args: Any, **kwargs: Any) -> Awaitable:
        return Awaitable(self.blocking.render(*args, **kwargs))

    def avatar_pages(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return _each(self.blocking.avatar_pages(*args, **kwargs))

    def operation(self, *args: Any) -> "AwaitableOperation":
        return AwaitableOperation(self.blocking.operation(*args))

    async def create_avatar(self, *args: Any) -> "AwaitableOperation":
        return AwaitableOperation(await asyncio.to_thread(self.blocking.create_avatar, *args))


class AwaitableOperation(Awaitable):
    def watch(self) -> AsyncIterator[Any]:
        return _each(self.blocking.watch())


async def _each(steps: Any) -> AsyncIterator[Any]:
    end = object()
    while (step := await asyncio.to_thread(next, steps, end)) is not end:
        yield step


CLIENTS: dict[str, Callable[..., Any]] = {"sync": AwaitableClient, "async": tm.AsyncClient}
