"""OperatorService: the workers of the graph, and how one of them is taken out."""

from typing import Any

import grpc

from avatar.bus import Bus, Measured, WorkerInfo
from avatar.errors import NotFound
from avatar.media import STAGES, WorkerId
from avatar.telemetry.logging import get_logger
from services.gateway.guard import Guard
from services.gateway.rpc.border import answered, headers_of
from services.gateway.rpc.server import Served, name_in
from services.worker import ask_to_drain
from talkingmachines_api.v1 import operator_pb2, operator_pb2_grpc

log = get_logger(__name__)


class OperatorService(operator_pb2_grpc.OperatorServiceServicer):
    """Asks the bus, which knows all workers; any gateway will do."""

    def __init__(self, bus: Bus, guard: Guard) -> None:
        self._bus = bus
        self._guard = guard

    async def ListWorkers(  # noqa: N802  the protocol's name
        self, request: operator_pb2.ListWorkersRequest, context: Any
    ) -> operator_pb2.ListWorkersResponse:
        async def get() -> operator_pb2.ListWorkersResponse:
            self._guard.operator(headers_of(context))
            return operator_pb2.ListWorkersResponse(workers=await self._workers())

        return await answered(context, get)

    async def DrainWorker(  # noqa: N802  the protocol's name
        self, request: operator_pb2.DrainWorkerRequest, context: Any
    ) -> operator_pb2.DrainWorkerResponse:
        async def drain() -> operator_pb2.DrainWorkerResponse:
            operator = self._guard.operator(headers_of(context))
            for worker in await self._workers():
                if worker.id == request.worker_id:
                    await ask_to_drain(self._bus, WorkerId(worker.id))
                    log.info("drain_asked", worker=worker.id, key=operator.key)
                    worker.draining = True
                    return operator_pb2.DrainWorkerResponse(worker=worker)
            raise NotFound(
                f"no worker is called {request.worker_id[:64]!r}; ListWorkers tells their names"
            )

        return await answered(context, drain)

    async def _workers(self) -> list[operator_pb2.WorkerSummary]:
        found: list[WorkerInfo] = []
        for stage in STAGES:
            # the launcher stands among the gateways, without slots, while it holds their port
            found += (each for each in await self._bus.workers(stage) if each.slots)
        loads = await self._bus.loads(*(each.worker for each in found))
        return [
            operator_pb2.WorkerSummary(
                id=each.worker,
                stage=each.stage,
                slots=each.slots,
                sessions=load,
                draining=each.draining,
                avatar_ids=each.avatars,
                measured=None if each.measured is None else _measured(each.measured),
            )
            for each, load in zip(found, loads, strict=True)
        ]


def _measured(found: Measured) -> operator_pb2.MeasuredCapacity:
    return operator_pb2.MeasuredCapacity(
        chunk_seconds=found.chunk_s,
        cost_seconds=found.cost_s,
        sessions_together=found.together,
        sessions=found.sessions,
    )


def served(service: OperatorService) -> Served:
    name = name_in(operator_pb2.DESCRIPTOR, "OperatorService")

    def add(server: grpc.aio.Server) -> None:
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(service, server)

    return Served(name, add)
