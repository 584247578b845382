"""Several live sessions at one graph that is too slow for all of them, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from avatar.media import AudioChunk, SessionId
from services.gateway.ladder import LIGHT
from services.gateway.live import LiveSession
from services.precedence import Due, Precedence, urgency
from services.settings import AppConfig
from tests.fakes.live import FakePeer, FakeSession


@dataclass(repr=False)  # asyncio's debug mode would print every chunk
class SharedGraph:
    """Makes one chunk after the other, in the order in which a stage takes them."""

    takes_s: float
    """For a full chunk."""
    waiting: list[tuple[Due, "SharedSession", AudioChunk]] = field(default_factory=list)
    precedence: Precedence = field(default_factory=Precedence)
    is_busy: bool = False

    def take(self, session: "SharedSession", chunk: AudioChunk) -> None:
        now = asyncio.get_running_loop().time()
        due = self.precedence.due(session.id, now, chunk.stamp.left_s)
        self.waiting.append((due, session, chunk))
        if not self.is_busy:
            self._begin()

    def _begin(self) -> None:
        self.is_busy = True
        now = asyncio.get_running_loop().time()
        key = urgency([due for due, _, _ in self.waiting], now, self.takes_s)
        next_one = min(self.waiting, key=lambda each: key(each[0]))
        self.waiting.remove(next_one)
        _, session, chunk = next_one
        takes_s = self.takes_s * (LIGHT if chunk.stamp.is_light else 1)
        asyncio.get_running_loop().call_later(takes_s, self._end, session, chunk)

    def _end(self, session: "SharedSession", chunk: AudioChunk) -> None:
        session.made(chunk)
        self.is_busy = False
        if self.waiting:
            self._begin()


@dataclass(eq=False, repr=False)
class SharedSession(FakeSession):
    """Its chunks are made by a graph that others use too."""

    graph: SharedGraph = field(default_factory=lambda: SharedGraph(0.0))

    async def send(self, chunk: AudioChunk) -> None:
        self.sent.append(chunk)
        self.graph.take(self, chunk)


@dataclass
class SharedCall:
    session: SharedSession
    live: LiveSession
    peer: FakePeer


@asynccontextmanager
async def shared_calls(graph: SharedGraph, num: int) -> AsyncIterator[list[SharedCall]]:
    """So many calls, admitted one after the other, 0.7 s apart."""
    calls: list[SharedCall] = []
    async with AsyncExitStack() as stack:
        for number in range(num):
            session = SharedSession(id=SessionId(f"s{number}"), graph=graph)
            clock = asyncio.get_running_loop().time
            live = LiveSession(session.as_session, AppConfig(), clock)
            peer = FakePeer()
            running = asyncio.create_task(live.run())
            stack.push_async_callback(_end, live, running)
            live.attach(peer)
            calls.append(SharedCall(session, live, peer))
            await asyncio.sleep(0.7)
        yield calls


async def _end(live: LiveSession, running: "asyncio.Task[None]") -> None:
    live.end("hung_up")
    await running
