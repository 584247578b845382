"""What every compute stage does alike: credit, epoch, order, compute, commit."""

import asyncio
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

from avatar import wire
from avatar.bus import LEDGER_LENGTH, Bus, Lease, Measured, WorkerInfo
from avatar.errors import AvatarError, Fenced, InvalidInput, SessionLost
from avatar.media import (
    AudioChunk,
    AudioEmbedding,
    FrameChunk,
    LatentChunk,
    StageName,
    Stamp,
    WorkerId,
    landed,
    underway,
)
from avatar.telemetry import metrics
from avatar.telemetry.logging import get_logger
from avatar.transport import Channel, Inbound, OpenRequest, Transport
from services.compute import Batch, ComputeThread, Finish
from services.precedence import Precedence
from services.worker import SessionHost, task_group, until_done

log = get_logger(__name__)

Media = AudioChunk | AudioEmbedding | LatentChunk | FrameChunk
State = TypeVar("State")
In = TypeVar("In", bound=Media)
Out = TypeVar("Out", bound=Media)
In_contra = TypeVar("In_contra", bound=Media, contravariant=True)
Out_co = TypeVar("Out_co", bound=Media, covariant=True)
R = TypeVar("R")


class Engine(Protocol[State, In_contra, Out_co]):
    """The computation of a stage: pure, synchronous, one chunk in, one chunk out.

    It runs in the stage's only compute thread. The state is a value that the session owns:
    `step` returns a new one and leaves the one given as it was. What it returns may be under way
    on a device; the next stage of the same process, or the edge to another, waits for it.
    """

    def init_state(self, request: OpenRequest, /) -> State:
        """State before the first chunk; whatever is computed once a session is computed here.

        Raises:
            NotFound: This engine has no avatar of that name.
        """
        ...

    def step(self, chunk: In_contra, state: State, /) -> tuple[Out_co, State]: ...


@runtime_checkable
class BatchEngine(Protocol[State, In_contra, Out_co]):
    """An engine that can also make the next chunks of several sessions together."""

    def step_many(
        self, chunks: Sequence[In_contra], states: Sequence[State], /
    ) -> Sequence[tuple[Out_co, State]]: ...


@runtime_checkable
class HoldsAvatars(Protocol):
    """An engine that keeps avatars from one session to the next."""

    @property
    def avatars(self) -> tuple[str, ...]:
        """Those in memory now; asked from another thread."""
        ...


@dataclass(frozen=True)
class StageKind(Generic[In]):
    """What tells one compute stage from another, besides its engine."""

    name: StageName
    takes: type[In]
    keeps_ledger: bool  # never decoded frames: the latents before them are in the ledger


AUDIO_ENCODER = StageKind("audio_encoder", AudioChunk, keeps_ledger=True)
SCORE_WORKER = StageKind("score_worker", AudioEmbedding, keeps_ledger=True)
VAE_DECODER = StageKind("vae_decoder", LatentChunk, keeps_ledger=False)


class Stage(Generic[State, In, Out]):
    """Serves the sessions of one worker: one engine, one compute thread, `slots` sessions.

    `start` makes the worker known, `close` takes it away; `serve` is the handler of its edges.
    """

    def __init__(
        self,
        kind: StageKind[In],
        engine: Engine[State, In, Out],
        bus: Bus,
        transport: Transport,
        worker: WorkerId,
        *,
        slots: int,
        max_batch: int = 1,
        measured: Measured | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_batch` chunks are computed together at most, where the engine can."""
        self.kind = kind
        self.host = SessionHost(
            kind.name,
            worker,
            bus,
            transport,
            slots=slots,
            measured=measured,
            avatars=(lambda: engine.avatars) if isinstance(engine, HoldsAvatars) else tuple,
        )
        self._engine = engine
        self._bus = bus
        self._transport = transport
        self._clock = clock
        self.compute = ComputeThread(kind.name, clock)
        self._precedence = Precedence()
        most = max_batch if isinstance(engine, BatchEngine) else 1
        self._steps = Batch(self._compute, most, self._unfinished)

    async def start(self) -> WorkerInfo:
        return await self.host.start(self.serve)

    async def close(self) -> None:
        """Idempotent."""
        await self.host.close()
        await asyncio.to_thread(self.compute.close)

    async def serve(self, inbound: Inbound, lease: Lease) -> None:
        """Serve one edge until its sender finishes.

        Raises:
            Fenced: The session has a newer owner.
            SessionLost: A chunk is missing.
        """
        due = self._precedence.lax(self._clock())
        opening = self.compute.run(due, self._engine.init_state, inbound.request)
        try:
            downstream = await self._open_next(inbound.request)
            try:
                await self._serve_session(inbound, downstream, lease, await opening)
            finally:
                await downstream.close()
        finally:
            opening.add_done_callback(_let_go)
            self._precedence.leave(inbound.request.session)

    async def _open_next(self, request: OpenRequest) -> Channel:
        if not request.route:
            raise InvalidInput(f"the route ends at {self.kind.name}; one more hop is needed")
        hop, *rest = request.route
        onward = replace(request, fence=hop.fence, route=tuple(rest))
        return await self._transport.connect(hop.address, onward)

    async def _serve_session(
        self, inbound: Inbound, downstream: Channel, lease: Lease, state: State
    ) -> None:
        ledger = _Ledger[Out](self._bus, lease)
        async with task_group() as tasks:
            tasks.create_task(until_done(downstream))
            tasks.create_task(ledger.write())
            try:
                await self._pump(inbound, downstream, lease, state, ledger)
            except BaseException:
                ledger.abandon()
                raise
            await ledger.finish()

    async def _pump(
        self,
        inbound: Inbound,
        downstream: Channel,
        lease: Lease,
        state: State,
        ledger: "_Ledger[Out]",
    ) -> None:
        last: Stamp | None = None
        while (chunk := await inbound.receive()) is not None:
            if not isinstance(chunk, self.kind.takes):
                raise InvalidInput(
                    f"{self.kind.name} takes {self.kind.takes.__name__}, "
                    f"{type(chunk).__name__} given"
                )
            if not self._is_next(chunk.stamp, last):
                continue
            arrived = self._clock() - inbound.waited_s
            output, advanced = await self._step(chunk, state, arrived)
            if chunk.stamp.epoch < inbound.epoch:
                self._drop("stale")
                continue
            started = self._clock()
            left_s = _left_s(chunk.stamp, started - arrived)
            stamp = replace(chunk.stamp, fence=lease.fence, left_s=left_s)
            output = replace(output, stamp=stamp, last=chunk.last)
            await downstream.send(output)
            metrics.stage_send_seconds.labels(self.kind.name).observe(self._clock() - started)
            state, last = advanced, chunk.stamp
            if self.kind.keeps_ledger:
                ledger.add(output)
        await downstream.finish()

    def _is_next(self, stamp: Stamp, last: Stamp | None) -> bool:
        """Whether to compute the chunk; False drops it.

        Raises:
            SessionLost: One before it never came.
        """
        if last is None:
            return True
        if stamp.fence < last.fence or stamp.epoch < last.epoch:
            self._drop("stale")
            return False
        if stamp.seq <= last.seq:
            self._drop("duplicate")
            return False
        if stamp.epoch == last.epoch and stamp.seq != last.seq + 1:
            raise SessionLost(
                f"{self.kind.name} got chunk {stamp.seq} after chunk {last.seq}; open a new session"
            )
        return True

    def _drop(self, cause: str) -> None:
        metrics.stage_dropped_total.labels(self.kind.name, cause).inc()

    async def _step(self, chunk: In, state: State, arrived: float) -> tuple[Out, State]:
        due = self._precedence.due(chunk.stamp.session, arrived, chunk.stamp.left_s)
        asked = _Asked(chunk, state, self._clock())
        return await self.compute.join(due, self._steps, asked)

    def _compute(self, asked: "list[_Asked[In, State]]") -> Sequence[tuple[Out, State]]:
        started, engine = self._clock(), self._engine
        if len(asked) > 1 and isinstance(engine, BatchEngine):
            made: Sequence[tuple[Out, State]] = engine.step_many(
                [each.chunk for each in asked], [each.state for each in asked]
            )
        else:
            made = [engine.step(each.chunk, each.state) for each in asked]
        took_s = self._clock() - started
        metrics.stage_batch.labels(self.kind.name).observe(len(asked))
        for each, (output, _) in zip(asked, made, strict=True):
            metrics.stage_wait_seconds.labels(self.kind.name).observe(started - each.at)
            if underway(output) is None:
                metrics.stage_seconds.labels(self.kind.name).observe(took_s)
        return made

    def _unfinished(self, made: Sequence[tuple[Out, State]]) -> Finish | None:
        coming = [each for output, _ in made if (each := underway(output)) is not None]
        if not coming:
            return None

        def finish() -> float:
            took_s = max(each.took_s() for each in coming)
            for _ in coming:
                metrics.stage_seconds.labels(self.kind.name).observe(took_s)
            return took_s

        return finish


@dataclass(frozen=True)
class _Asked(Generic[In, State]):
    """A chunk that waits to be computed since `at`."""

    chunk: In
    state: State
    at: float


class _Ledger(Generic[Out]):
    """Writes a session's chunks to the bus, beside the way of the media and never before it."""

    def __init__(self, bus: Bus, lease: Lease) -> None:
        self._bus = bus
        self._lease = lease
        self._waiting: asyncio.Queue[Out | None] = asyncio.Queue(LEDGER_LENGTH)
        self._is_abandoned = False

    def add(self, chunk: Out) -> None:
        try:
            self._waiting.put_nowait(chunk)
        except asyncio.QueueFull:  # the bus is slow or gone; media does not wait for it
            metrics.commit_failures_total.labels(self._lease.stage).inc()

    async def finish(self) -> None:
        """No more chunks follow; what is waiting is still written."""
        await self._waiting.put(None)

    def abandon(self) -> None:
        """Write no more.

        Besides being cancelled, because redis-py can swallow a cancellation on Python 3.11.
        """
        self._is_abandoned = True
        if self._waiting.empty():
            self._waiting.put_nowait(None)

    async def write(self) -> None:
        """Write until the last chunk.

        Raises:
            Fenced: Another worker owns the session's stage now.
        """
        stage = self._lease.stage
        while (chunk := await self._waiting.get()) is not None and not self._is_abandoned:
            try:
                content = wire.encode(await landed(chunk))
                result = await self._bus.commit(self._lease, chunk.stamp.seq, content)
            except (AvatarError, OSError) as error:  # the ledger has a hole; the call goes on
                metrics.commit_failures_total.labels(stage).inc()
                log.warning("commit_failed", seq=chunk.stamp.seq, error=str(error))
                continue
            if result == "fenced":
                raise Fenced(f"{stage} of this session has a newer owner")


def _left_s(stamp: Stamp, spent_s: float) -> float | None:
    """What is left of a chunk's time; never below 0, or late sessions would hold up all others."""
    return None if stamp.left_s is None else max(0.0, stamp.left_s - spent_s)


def _let_go(unwanted: "Future[R]") -> None:
    """Look at a result that nobody waits for any more, or asyncio complains of a lost error."""
    if not unwanted.cancelled():
        unwanted.exception()
