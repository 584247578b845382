"""A stage as one worker process: how it is wired, started, checked and closed, on Ray or not."""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Generic, Protocol

from avatar.backends import Backend
from avatar.bus import Bus, Measured
from avatar.media import StageName, WorkerId
from avatar.telemetry import logging
from avatar.transport import Transport
from services.capacity import Clock, declared, fitting, measure
from services.garbage import settle
from services.settings import LIBRARIES, AppConfig, Environment, set_environment
from services.stage import Engine, In, Out, Stage, StageKind, State


@dataclass(frozen=True)
class Wiring:
    """How a worker reaches the others."""

    bus: Bus
    transport: Transport

    async def close(self) -> None:
        await self.transport.close()
        await self.bus.close()


class Worker(Protocol):
    """What runs one stage; the same object on Ray and in one process."""

    async def start(self) -> None:
        """Load the model, listen, and become known on the bus."""
        ...

    def check_health(self) -> None:
        """Raise if the worker should be replaced."""
        ...

    async def load(self) -> dict[str, float]:
        """Slots, how many are leased, and how many people wait."""
        ...

    async def drain(self, limit_s: float) -> None:
        """Take no new sessions, and wait until those that are here have ended, or `limit_s`."""
        ...

    async def close(self) -> None:
        """Idempotent."""
        ...


class MakeWorker(Protocol):
    """A worker's class, as a deployment names it."""

    stage: ClassVar[StageName]

    def __call__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> Worker: ...


class ComputeWorker(Generic[State, In, Out]):
    """A worker whose stage is an engine; subclasses name the engine and the kind of stage."""

    stage: ClassVar[StageName]

    def __init__(
        self,
        config: AppConfig,
        environment: Environment,
        wiring: Wiring,
        kind: StageKind[In],
        load: Callable[[AppConfig], Engine[State, In, Out]],
        clocks: Sequence[Clock] | None = None,
    ) -> None:
        """`clocks`: what the engine's chunks are measured with, where it is not the machine's."""
        self.serving: Stage[State, In, Out] | None = None
        self._config = config
        self._wiring = wiring
        self._kind = kind
        self._load = load
        self._clocks = clocks

    async def start(self) -> None:
        engine, slots, measured = await asyncio.to_thread(self._ready)
        self.serving = Stage(
            self._kind,
            engine,
            self._wiring.bus,
            self._wiring.transport,
            new_worker_id(self._kind.name),
            slots=slots,
            max_batch=self._config.max_batch,
            measured=measured,
        )
        await self.serving.start()

    def _ready(self) -> tuple[Engine[State, In, Out], int, Measured | None]:
        """The engine, warm; how many sessions it takes; what that was concluded from."""
        config, engine = self._config, self._load(self._config)
        found = measure(engine, config.clock.chunk_s, config.max_batch, self._clocks)
        if found is None:
            return engine, config.num_slots, None
        measured, trial = found
        if config.slots == "auto":
            slots = declared(self._kind.name, None, measured, fitting(trial))
        else:  # for so many there is memory: it was looked at before the weights were read
            slots = declared(self._kind.name, config.num_slots, measured)
        return engine, slots, measured

    def check_health(self) -> None:
        if self.serving is None:
            raise RuntimeError(f"{self._kind.name} is not started")
        self.serving.host.check_health()

    async def load(self) -> dict[str, float]:
        assert self.serving is not None, "load() before start()"
        return await self.serving.host.load()

    async def drain(self, limit_s: float) -> None:
        if self.serving is not None:
            await self.serving.host.drain(limit_s)

    async def close(self) -> None:
        if self.serving is not None:
            await self.serving.close()
        await self._wiring.close()


def tell_loaded(stage: StageName, backend: Backend) -> None:
    """The start line of a stage whose networks have a choice of back ends."""
    log = logging.get_logger(__name__)
    log.info("engine_loaded", stage=stage, backend=backend.name, reason=backend.reason)


WORKERS: dict[str, str] = {
    "audio_llm": "services.audio_llm.deployment:AudioLlm",
    "audio_encoder": "services.audio_encoder.deployment:AudioEncoder",
    "score_worker": "services.score_worker.deployment:ScoreWorker",
    "vae_decoder": "services.vae_decoder.deployment:VaeDecoder",
    "gateway": "services.gateway.deployment:Gateway",
}
"""Where each stage's worker is; by name, so that a process loads only the libraries of its own."""


def launcher_id(port: int) -> WorkerId:
    """On the bus while services/run.py still answers on the gateway's port of this machine."""
    return WorkerId(f"launcher-{socket.gethostname()}-{port}")


def worker_class(path: str) -> MakeWorker:
    """The worker at "module:Class"."""
    module, _, name = path.partition(":")
    made: MakeWorker = getattr(import_module(module), name)
    return made


class ServeReplica:
    """What Ray Serve creates for each replica of a deployment; carries no media itself.

    `upstream` holds handles of other deployments: it tells Serve that they belong to the graph.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, worker: str, config: dict[str, Any], *upstream: object
    ) -> None:
        set_environment(LIBRARIES)
        settings = AppConfig.model_validate(config).with_environment()
        environment = Environment.read()
        logging.configure(path=environment.log_file)
        self._drain_s = settings.drain_s
        make = await asyncio.to_thread(worker_class, worker)
        self._worker = make(settings, environment, connect(settings, environment, make.stage))
        await self._worker.start()
        settle()

    async def __call__(self, request: object) -> dict[str, str]:
        """Serve's own HTTP proxy asks the ingress whether it lives; people use the gateway's."""
        self._worker.check_health()
        return {"status": "ok"}

    async def check_health(self) -> None:
        self._worker.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `SessionsPolicy` decides by."""
        return await self._worker.load()

    async def __del__(self) -> None:
        """Serve awaits it when a pool shrinks or the application is replaced.

        It kills the replica `graceful_shutdown_timeout_s` after it has begun to. Where the whole
        cluster ends nobody calls this.
        """
        worker: Worker | None = getattr(self, "_worker", None)
        if worker is not None:  # the constructor may have failed
            await worker.drain(self._drain_s)
            await worker.close()


def connect(config: AppConfig, environment: Environment, stage: StageName) -> Wiring:
    """Wiring between processes: Redis and gRPC."""
    from avatar.bus.redis import RedisBus
    from avatar.transport.grpc import GrpcTransport

    return Wiring(RedisBus(environment.redis_url), GrpcTransport(config.stage_host, stage=stage))


def new_worker_id(stage: StageName) -> WorkerId:
    return WorkerId(f"{stage}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
