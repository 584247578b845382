"""The whole graph in one process, without Ray or Redis: the same workers, wired by memory."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from avatar.bus.memory import MemoryBus
from avatar.media import STAGES, StageName
from avatar.transport.memory import MemoryNetwork, MemoryTransport
from services.gateway.deployment import Gateway
from services.replica import WORKERS, Wiring, Worker, worker_class
from services.settings import AppConfig, Environment

Make = Callable[[AppConfig, Environment, Wiring], Worker]


@asynccontextmanager
async def inproc_graph(
    config: AppConfig,
    environment: Environment,
    makers: Mapping[StageName, Make] | None = None,
    wire: Callable[[StageName], Wiring] | None = None,
) -> AsyncIterator[Gateway]:
    """Run all stages until the block ends; `makers` replaces workers, by stage.

    The gateway comes first: it answers while the models are being loaded. `wire` gives each stage
    another bus and transport than those of one process.
    """
    bus, network = MemoryBus(), MemoryNetwork()
    wire = wire or (lambda stage: Wiring(bus, MemoryTransport(network)))
    async with AsyncExitStack() as stack:
        gateway = Gateway(config, environment, wire("gateway"))
        stack.push_async_callback(gateway.close)
        await gateway.start()
        for stage in (stage for stage in STAGES if stage != "gateway"):
            make = (makers or {}).get(stage) or worker_class(WORKERS[stage])
            worker = make(config, environment, wire(stage))
            stack.push_async_callback(worker.close)
            await worker.start()
        stack.push_async_callback(gateway.calls.close)  # callers hear why before stages go
        yield gateway
