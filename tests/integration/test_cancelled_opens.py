"""A hundred callers who go away while their session opens leave nothing: real Valkey, real edges.

The graph is whole but for its models; all of it, and the callers, are in this process, so that its
tasks and its files are theirs.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import grpc
import httpx
import psutil  # type: ignore[import-untyped]  # has no types
import pytest
import redis

from avatar.bus import Bus
from avatar.bus.redis import MAX_CONNECTIONS
from avatar.bus.valkey import run_valkey
from avatar.media import STAGES, StageName
from services.gateway.deployment import Gateway
from services.inproc import inproc_graph
from services.ports import free_port
from services.replica import Wiring, connect
from services.settings import AppConfig, Environment
from talkingmachines_api.v1 import session_pb2, session_pb2_grpc
from tests.fakes.graph import NOWHERE, Parts, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SLOTS = 2
POINTS = 50
"""An opening asks the bus fewer times than so many."""
SHARED = b"workers:*", b"spent:drain:*"
"""Keys of heartbeats."""

Open = Callable[[], Awaitable[object]]


class Tripwire:
    """A bus that calls `trip` as it is asked for the n-th time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._left = 0
        self._trip: Callable[[], object] = lambda: None

    def arm(self, after: int, trip: Callable[[], object]) -> None:
        self._left, self._trip = after, trip

    @property
    def is_armed(self) -> bool:
        return self._left > 0

    def __getattr__(self, name: str) -> Any:
        if name != "advertise":  # heartbeats come by themselves
            self._left -= 1
            if self._left == 0:
                self._trip()
        return getattr(self._bus, name)


@dataclass(frozen=True)
class Traces:
    """What somebody who opens a session may leave behind, at the server's end."""

    keys: frozenset[bytes]
    tasks: Counter[str]
    sockets: int
    files: int
    """Without connections to the bus, of which a process has a bounded number, and callers' own:
    httpx forgets one now and then when its request is cancelled."""


@dataclass
class Graph:
    gateway: Gateway
    wire: Tripwire
    http: httpx.AsyncClient
    sessions: Any
    client: "redis.Redis"

    def opens(self) -> list[Open]:
        """Each way to open a session."""

        async def by_http(**headers: str) -> None:
            async with self.http.stream("POST", "/v1/sessions", headers=headers) as answer:
                await answer.aread()

        async def by_grpc(waits: bool) -> None:
            request = session_pb2.CreateSessionRequest(wait_in_line=waits)
            call = self.sessions.CreateSession(request)
            try:
                with suppress(grpc.RpcError):  # full
                    async for _ in call:
                        pass
            finally:
                call.cancel()  # one that is cancelled as it begins would stay for ever

        return [
            by_http,
            lambda: by_http(accept="text/event-stream"),
            lambda: by_grpc(False),
            lambda: by_grpc(True),
        ]

    async def cancelled(self, open: Open, after: int) -> None:
        """One who goes away as the bus is asked for the n-th time from now on; or in the end."""
        opening = asyncio.ensure_future(open())
        self.wire.arm(after, opening.cancel)
        try:
            async with asyncio.timeout(0.5):  # one who waits in line asks seldom
                await opening
        except (asyncio.CancelledError, TimeoutError):
            pass
        assert opening.done()

    async def cancelled_together(self, opens: list[Open]) -> None:
        """All come at once; one goes away whenever the bus was asked some more times."""
        all_opening = [asyncio.ensure_future(open()) for open in opens]
        staying = iter(all_opening)

        def cancel_next() -> None:
            if opening := next(staying, None):
                opening.cancel()
                self.wire.arm(3, cancel_next)

        self.wire.arm(1, cancel_next)
        async with asyncio.timeout(60):
            await asyncio.gather(*all_opening, return_exceptions=True)
        self.wire.arm(0, lambda: None)

    async def end_those_delivered(self) -> None:
        """Who was let in before it went away has a session like any other."""
        coordinator, bus = self.gateway.coordinator, self.gateway.wiring.bus
        async with asyncio.timeout(30):
            while await self.leases() or await bus.line_length() or coordinator.sessions:
                for call in self.gateway.calls.all():
                    call.end("hung_up")
                await asyncio.sleep(0.01)

    async def settled(self) -> Traces:
        """Three times the same: no heartbeat was on its way, and nothing was about to end."""
        seen: list[Traces] = []
        async with asyncio.timeout(30):
            while len(seen) < 3 or seen.count(seen[-1]) < 3:
                await asyncio.sleep(0.1)
                seen = [*seen[-2:], await self.traces()]
        return seen[-1]

    async def left_as(self, before: Traces) -> Traces:
        """What is there once it is as before, or after so long that something stayed."""
        seen = await self.traces()
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                while seen != before:
                    await asyncio.sleep(0.05)  # a heartbeat is on its way
                    seen = await self.traces()
        return seen

    async def leases(self) -> int:
        bus, count = self.gateway.wiring.bus, 0
        for stage in STAGES:
            workers = await bus.workers(stage)
            count += sum(await bus.loads(*(each.worker for each in workers)))
        return count

    async def traces(self) -> Traces:
        process = psutil.Process()
        heartbeats = {key for pattern in SHARED for key in self.client.scan_iter(pattern)}
        running = (task.get_coro() for task in asyncio.all_tasks())
        local = process.net_connections("unix")
        assert len(local) <= 2 * (MAX_CONNECTIONS + 1) * len(STAGES) + 10
        doors = {self.gateway.grpc_port, self.http.base_url.port}
        inet = [each for each in process.net_connections("inet") if each.status != "TIME_WAIT"]
        callers = [each for each in inet if each.raddr and each.raddr.port in doors]
        return Traces(
            frozenset(self.client.scan_iter()) - heartbeats,
            Counter(getattr(coro, "__qualname__", "") for coro in running),
            len(inet) - len(callers),
            process.num_fds() - len(local) - len(callers),
        )


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with run_valkey() as url:
        yield url


@asynccontextmanager
async def graph_at(url: str) -> AsyncIterator[Graph]:
    config = AppConfig(slots=SLOTS, port=free_port(), grpc_port=0, avatars_dir=NOWHERE)
    environment = Environment(redis_url=url)
    wires: list[Tripwire] = []

    def wire(stage: StageName) -> Wiring:
        wiring = connect(config, environment, stage)
        if stage != "gateway":
            return wiring
        wires.append(Tripwire(wiring.bus))
        return Wiring(cast(Bus, wires[0]), wiring.transport)

    async with inproc_graph(config, environment, Parts().makers(), wire) as gateway:
        await until(lambda: not gateway.waiting_for)
        address = f"127.0.0.1:{gateway.grpc_port}"
        no_reuse = httpx.Limits(max_keepalive_connections=0)
        async with (
            grpc.aio.insecure_channel(address) as channel,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}", limits=no_reuse) as http,
        ):
            stub = session_pb2_grpc.SessionServiceStub(channel)
            with redis.Redis.from_url(url) as client:
                yield Graph(gateway, wires[0], http, stub, client)


async def test_a_hundred_opens_that_are_cancelled_leave_no_slot_key_task_or_socket(
    valkey_url: str,
) -> None:
    async with graph_at(valkey_url) as graph:
        ways = graph.opens()
        for open in ways:  # what is made once for all is there
            await graph.cancelled(open, POINTS)
        await graph.end_those_delivered()
        before = await graph.settled()
        reached = 0
        for number in range(100):
            await graph.cancelled(ways[number % len(ways)], 1 + number // len(ways))
            reached += not graph.wire.is_armed
            await graph.end_those_delivered()
        assert reached > 40  # of each way, at ten points from the first on
        assert await graph.left_as(before) == before
        await graph.cancelled_together(ways * 25)
        await graph.end_those_delivered()
        assert await graph.left_as(before) == before
        for _ in range(SLOTS):
            assert (await graph.http.post("/v1/sessions")).status_code == 201
