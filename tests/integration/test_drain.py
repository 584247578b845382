"""A worker that has to go: nobody new, and those who are there stay until they have ended."""

import asyncio

import pytest

from avatar.errors import Busy, Unavailable
from tests.fakes.graph import FakeGraph, fake_graph, until

pytestmark = pytest.mark.integration


async def is_open(graph: FakeGraph) -> bool:
    """Whether a session can be had."""
    try:
        async with graph.gateway.coordinator.session("mira"):
            return True
    except (Busy, Unavailable):
        return False


async def test_a_gateway_that_drains_keeps_its_sessions_and_is_not_ready() -> None:
    async with fake_graph() as graph:
        async with graph.gateway.coordinator.session("mira"):
            draining = asyncio.create_task(graph.gateway.drain(60))
            await until(lambda: bool(graph.gateway.waiting_for))
            assert (await graph.http.get("/readyz")).status_code == 503
            assert not await is_open(graph)
            assert not draining.done()
        await asyncio.wait_for(draining, 30)


async def test_a_drain_has_its_limit() -> None:
    async with fake_graph() as graph, graph.gateway.coordinator.session("mira"):
        await asyncio.wait_for(graph.gateway.drain(0.01), 30)


async def test_what_a_worker_tells_is_what_autoscaling_goes_by() -> None:
    async with fake_graph(slots=3) as graph:
        assert await graph.gateway.load() == {"slots": 3, "leased": 0, "waiting": 0}
        async with graph.gateway.coordinator.session("mira"):
            assert (await graph.gateway.load())["leased"] == 1
        await graph.gateway.wiring.bus.stand_in_line("somebody", 9)
        assert (await graph.gateway.load())["waiting"] == 1
