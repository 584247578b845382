"""A stage that is slower than was asked for: it declares what it keeps, and nobody gets more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from prometheus_client import REGISTRY

from avatar.bus import WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.errors import Fenced
from avatar.media import SessionId
from avatar.transport import OpenRequest
from avatar.transport.memory import MemoryNetwork, MemoryTransport
from services.replica import ComputeWorker, Wiring
from services.settings import AppConfig, Environment
from services.stage import SCORE_WORKER
from talkingmachines_api.v1 import operator_pb2
from tests.fakes.engines import CountedPainter
from tests.fakes.graph import Parts, fake_graph, until
from tests.fakes.rpc import RpcClient

pytestmark = pytest.mark.integration

CHUNK_S = 0.48


@asynccontextmanager
async def started(
    bus: MemoryBus, network: MemoryNetwork, cost_s: float
) -> AsyncIterator[WorkerInfo]:
    """A score worker that was asked to take four."""
    painter = CountedPainter(cost_s)
    worker = ComputeWorker(
        AppConfig(slots=4),
        Environment(),
        Wiring(bus, MemoryTransport(network)),
        SCORE_WORKER,
        lambda _: painter,
        [painter.clock],
    )
    await worker.start()
    [info] = await bus.workers("score_worker")
    try:
        yield info
    finally:
        await worker.close()


async def test_a_slowed_engine_declares_fewer_slots_and_the_fence_refuses_one_too_many() -> None:
    bus, network = MemoryBus(), MemoryNetwork()
    async with started(bus, network, cost_s=0.15) as info:
        assert info.slots == 2
        assert info.measured is not None
        assert info.measured.sessions == 2
        assert info.measured.cost_s == pytest.approx(0.15)
        leases = [await bus.acquire(SessionId(f"session-{i}"), info) for i in range(3)]
        assert [lease is not None for lease in leases] == [True, True, False]
        forged = OpenRequest(SessionId("session-2"), 1, "mira", seed=0)
        with pytest.raises(Fenced, match="holds no lease with fence 1"):
            await MemoryTransport(network).connect(info.address, forged)


async def test_a_quick_engine_keeps_what_was_asked_for() -> None:
    async with started(MemoryBus(), MemoryNetwork(), cost_s=0.03) as info:
        assert info.slots == 4
        assert info.measured is not None
        assert info.measured.sessions == 12


async def test_one_too_many_is_refused_at_the_door_and_operators_see_why() -> None:
    painter = CountedPainter(0.15)
    parts = Parts(painter=lambda: painter, clocks=[painter.clock])
    async with fake_graph(slots=3, parts=parts) as graph, AsyncExitStack() as calls:
        for _ in range(2):
            await calls.enter_async_context(graph.gateway.coordinator.session("mira"))
        with pytest.raises(grpc.RpcError) as caught:
            await graph.say("Hello.")
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        operator = RpcClient(graph.channel).operator
        workers = (await operator.ListWorkers(operator_pb2.ListWorkersRequest())).workers
        slots_of = {each.stage: (each.slots, each.HasField("measured")) for each in workers}
        assert slots_of["gateway"] == slots_of["audio_encoder"] == (3, False)
        assert slots_of["score_worker"] == (2, True)
        [score] = [each for each in workers if each.stage == "score_worker"]
        assert score.measured.chunk_seconds == pytest.approx(CHUNK_S)
        assert score.measured.cost_seconds == pytest.approx(0.15)
        assert (score.measured.sessions, score.measured.sessions_together) == (2, 1)
        label = {"stage": "score_worker"}
        assert REGISTRY.get_sample_value("avatar_slots", label) == 2
        cost_s = REGISTRY.get_sample_value("avatar_chunk_cost_seconds", label)
        assert cost_s == pytest.approx(0.15)


async def test_a_worker_tells_which_avatars_it_has_with_its_next_heartbeat() -> None:
    painter = CountedPainter(0.01)
    parts = Parts(painter=lambda: painter, clocks=[painter.clock])
    async with fake_graph(parts=parts) as graph:
        await graph.say("Hello.", avatar="otto")
        bus = graph.gateway.wiring.bus
        async with asyncio.timeout(30):
            while "otto" not in (await bus.workers("score_worker"))[0].avatars:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await bus.workers("audio_encoder"))[0].avatars == ()
        await until(lambda: not graph.gateway.coordinator.sessions)
