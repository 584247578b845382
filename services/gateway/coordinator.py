"""Sessions, as the gateway that owns them sees them: leases, edges, deadlines, release."""

import asyncio
import random
import secrets
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Literal

from avatar.bus import LEASE_TTL_S, Bus, Lease, WorkerInfo
from avatar.errors import (
    AvatarError,
    Busy,
    DeadlineExceeded,
    Fenced,
    InvalidInput,
    SessionLost,
    Unavailable,
)
from avatar.media import (
    STAGES,
    AudioChunk,
    Chunk,
    FrameChunk,
    SessionId,
    StageName,
    WorkerId,
    landed,
)
from avatar.telemetry import metrics
from avatar.telemetry.logging import bound, get_logger
from avatar.transport import Channel, Hop, Inbound, OpenRequest, Transport
from services.gateway.admission import Admission, GatewayFull, Tell
from services.gateway.keeper import Keeper
from services.worker import LISTED_S, Heartbeat, load_of, task_group, until_done, until_free

log = get_logger(__name__)

DRAWN = 8

CHAIN: Final[tuple[StageName, ...]] = (
    "audio_encoder",
    "score_worker",
    "vae_decoder",
    "gateway",
)
"""Where speech becomes frames, in order."""

Answers = Literal["server", "client"]
"""Who answers what a caller says: audio_llm, or the caller's own program."""

Owned = dict[StageName, tuple[WorkerInfo, Lease]]


class Session:
    """One caller with one avatar, while it lasts; made by `Coordinator.session`."""

    def __init__(
        self,
        id: SessionId,
        avatar: str,
        owned: Owned,
        chunk_deadline_s: float,
        bus: Bus,
        answers: Answers = "server",
    ) -> None:
        self.id = id
        self.avatar = avatar
        self.answers = answers
        self.fence = owned["gateway"][1].fence
        self.epoch = 0
        self._frames_fence = owned["vae_decoder"][1].fence
        self._chunk_deadline_s = chunk_deadline_s
        loop = asyncio.get_running_loop()
        self._attached: asyncio.Future[Inbound] = loop.create_future()
        self._next: asyncio.Future[Inbound] | None = None  # of the avatar that follows
        self._released = asyncio.Event()  # the edge of the frames may end
        self._drained = asyncio.Event()  # all frames of a chain that ends have come
        self._connect: Callable[[str], asyncio.Task[Channel]]
        self._llm: asyncio.Task[Channel]
        self._chain: asyncio.Task[Channel]
        self._watching: asyncio.Task[None]
        self._tasks: asyncio.TaskGroup
        self._patience: asyncio.Timeout | None = None
        self._bus = bus
        self._last_sent = -1
        self._last_received = -1
        self._received_epoch = 0

    async def tell(self, chunk: Chunk) -> None:
        """Send a piece of the question, or a turn event, to audio_llm."""
        await (await asyncio.shield(self._llm)).send(chunk)

    async def hear(self) -> Chunk | None:
        """The next piece of the reply, or turn event, from audio_llm; None after the last one."""
        return await (await asyncio.shield(self._llm)).receive()

    async def send(self, chunk: AudioChunk) -> None:
        """Send speech into the chain; waits for its credit."""
        await (await asyncio.shield(self._chain)).send(chunk)
        self._last_sent = chunk.stamp.seq
        self._set_deadline()

    async def raise_epoch(self, epoch: int) -> None:
        """Chunks of epochs before `epoch` are not wanted any more; the next one may skip some."""
        self.epoch = epoch
        await (await asyncio.shield(self._chain)).cancel(epoch)
        try:
            await self._bus.raise_epoch(self.id)
        except (AvatarError, OSError) as error:  # for the record only: the chain knows already
            log.warning("epoch_not_recorded", error=str(error))

    async def finish(self) -> None:
        """No more speech follows."""
        await (await asyncio.shield(self._chain)).finish()

    async def next_frames(self) -> FrameChunk | None:
        """The next chunk of video, or None after the last one.

        Chunks of older epochs may still come; after a new epoch began some may be missing.

        Raises:
            DeadlineExceeded: A chunk that was sent did not come out in time.
            SessionLost: A chunk is missing.
        """
        try:
            chunk = await self._next_of_chain()
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"chunk {self._last_received + 1} was not out of the graph within "
                f"{self._chunk_deadline_s:g} s; the machine is too slow or a stage hangs"
            ) from error
        if chunk is None:
            return None
        if not isinstance(chunk, FrameChunk):
            raise InvalidInput(f"the gateway takes FrameChunk, {type(chunk).__name__} given")
        if chunk.stamp.fence != self._frames_fence:
            raise Fenced(f"frames of fence {chunk.stamp.fence}, {self._frames_fence} expected")
        expected = self._last_received + 1
        if chunk.stamp.epoch > self._received_epoch:
            self._received_epoch, expected = chunk.stamp.epoch, chunk.stamp.seq
        if chunk.stamp.seq != expected:
            raise SessionLost(f"chunk {chunk.stamp.seq} came, {expected} was expected")
        self._last_received = chunk.stamp.seq
        return chunk

    async def _next_of_chain(self) -> Chunk | None:
        while True:
            inbound = await asyncio.shield(self._attached)
            try:
                async with asyncio.timeout(None) as self._patience:
                    self._set_deadline()
                    if (chunk := await inbound.receive()) is not None:
                        chunk = await landed(chunk)  # in one process it comes by reference
            finally:
                self._patience = None
            if chunk is not None or self._next is None:
                return chunk
            self._attached, self._next = self._next, None
            self._drained.set()

    async def swap(self, avatar: str) -> None:
        """Show another avatar from the next chunk on: the same leases, new edges.

        Nobody sends meanwhile, and somebody waits for frames. Those on their way still come.

        Raises:
            NotFound: A stage does not know the avatar; the session has ended then.
        """
        ending, watching, released = self._chain, self._watching, self._released
        await asyncio.shield(self._attached)  # else its frames were taken for the next one's
        self._next = asyncio.get_running_loop().create_future()
        self._released, self._drained = asyncio.Event(), asyncio.Event()
        chain = await asyncio.shield(ending)
        await chain.finish()
        await self._drained.wait()
        released.set()
        await asyncio.wait({watching})
        await chain.close()
        self.avatar = avatar
        self._chain = self._connect(avatar)
        self._watching = self._tasks.create_task(self._watch_chain())
        await asyncio.shield(self._chain)

    def open(
        self,
        tasks: asyncio.TaskGroup,
        transport: Transport,
        owned: Owned,
        request: OpenRequest,
        mode: dict[str, str],
    ) -> None:
        """Begin to open both edges; an edge that fails ends the group with its error.

        `mode`: options of the edge to audio_llm.
        """
        spoken = replace(request, options=mode)
        self._llm = tasks.create_task(_connect(transport, owned, spoken, "audio_llm"))
        self._tasks = tasks

        def connect(avatar: str) -> asyncio.Task[Channel]:
            asked = replace(request, avatar=avatar, epoch=self.epoch)
            return tasks.create_task(_connect(transport, owned, asked, *CHAIN))

        self._connect = connect
        self._chain = connect(request.avatar)
        self._watching = tasks.create_task(self._watch_chain())

    async def take(self, inbound: Inbound) -> None:
        """Serve the chain's last edge, which brings the frames, until the session closes."""
        if self._attached.done():
            raise Fenced("this session has an edge for its frames already")
        self._attached.set_result(inbound)
        await self._released.wait()

    async def close(self) -> None:
        """Idempotent."""
        self._watching.cancel()  # from here on, edges end because we close them
        self._released.set()
        for opening in (self._chain, self._llm):
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await opening.result().close()

    async def _watch_chain(self) -> None:
        await until_done(await asyncio.shield(self._chain))

    def _set_deadline(self) -> None:
        """Give the oldest chunk that is on its way its time, from now on."""
        is_waiting = self._patience is not None and self._patience.when() is None
        if self._patience is not None and is_waiting and self._last_sent > self._last_received:
            now = asyncio.get_running_loop().time()
            self._patience.reschedule(now + self._chunk_deadline_s)


class Coordinator:
    """Opens sessions on this gateway: all leases or none, and everything released at the end."""

    def __init__(
        self,
        bus: Bus,
        transport: Transport,
        worker: WorkerId,
        *,
        slots: int,
        chunk_deadline_s: float,
        line_length: int = 32,
        line_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
        new_seed: Callable[[], int] = lambda: secrets.randbits(63),
        renew_interval_s: float = LEASE_TTL_S / 5,
    ) -> None:
        self.sessions: dict[SessionId, Session] = {}
        self._lists: dict[StageName, tuple[list[WorkerInfo], float]] = {}
        self._listing: defaultdict[StageName, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._bus = bus
        self._transport = transport
        self._worker = worker
        self._slots = slots
        self._chunk_deadline_s = chunk_deadline_s
        self._clock = clock
        self._new_seed = new_seed
        self._keeper = Keeper(bus, renew_interval_s, clock)
        self._heartbeat: Heartbeat | None = None
        self._admission = Admission(bus, longest=line_length, patience_s=line_s, clock=clock)
        self._cleaning: set[asyncio.Task[None]] = set()

    @property
    def is_draining(self) -> bool:
        """Whether it opens no more sessions."""
        return self._heartbeat is not None and self._heartbeat.info.draining

    async def start(self, http: str = "", grpc: str = "") -> None:
        """`http` and `grpc` are where other gateways ask about sessions of this one."""
        address = await self._transport.listen(self.serve)
        info = WorkerInfo(self._worker, "gateway", address, self._slots, http=http, grpc=grpc)
        self._heartbeat = Heartbeat(self._bus, info)
        await self._heartbeat.start()
        metrics.slots.labels("gateway").set(self._slots)
        self._keeper.start()

    def check_health(self) -> None:
        if self._heartbeat is None:
            raise RuntimeError("the gateway is not started")
        self._heartbeat.check()
        self._keeper.check()

    async def load(self) -> dict[str, float]:
        return await load_of(self._bus, self._worker, self._slots, self.is_draining)

    async def drain(self, limit_s: float) -> None:
        """Open no more sessions, and wait until those that are here have ended, or `limit_s`."""
        if self._heartbeat is not None:
            await self._heartbeat.drain()
            await until_free(self._bus, self._worker, limit_s)

    async def close(self) -> None:
        """Idempotent."""
        if self._heartbeat is not None:
            await self._heartbeat.stop()
            self._heartbeat = None
        await self._keeper.stop()
        await asyncio.gather(*self._cleaning)
        await self._transport.close()

    async def missing(self) -> list[StageName]:
        """Stages that have no worker to take a session."""
        return [stage for stage in STAGES if not await self._listed(stage)]

    async def serve(self, inbound: Inbound) -> None:
        """Handler of the gateway's own edges: the frames of its sessions come in here."""
        request = inbound.request
        session = self.sessions.get(request.session)
        if session is None or request.fence != session.fence:
            raise Fenced("this gateway does not own that session")
        await session.take(inbound)

    @asynccontextmanager
    async def session(
        self,
        avatar: str,
        live: bool = False,
        tell: Tell | None = None,
        answers: Answers = "server",
    ) -> AsyncIterator[Session]:
        """One session, from its leases to their release, whatever ends it.

        Args:
            avatar: A character's name.
            live: A call, not one request: audio_llm listens to it all the time.
            tell: Hears of the caller's place in line while all slots are taken; without it nobody
                waits.
            answers: Who answers in a call.

        Raises:
            Busy: A stage has no free slot, or had none for as long as one may wait.
            Unavailable: A stage has no live worker.
        """
        id = SessionId(uuid.uuid4().hex)
        with bound(session=id):
            async with AsyncExitStack() as stack:
                stack.push_async_callback(self._shielded, self._forget, id)
                owned = await self._admission.admit(
                    lambda: self._acquire_all(id, avatar, stack), tell
                )
                session = Session(id, avatar, owned, self._chunk_deadline_s, self._bus, answers)
                self.sessions[id] = session
                stack.callback(self.sessions.pop, id)
                metrics.sessions.labels("gateway").inc()
                stack.callback(metrics.sessions.labels("gateway").dec)
                request = OpenRequest(id, session.fence, avatar, self._new_seed())
                async with task_group() as tasks:
                    leases = [lease for _, lease in owned.values()]
                    keeping = tasks.create_task(self._keeper.keep(leases))
                    mode = {"mode": "live", "answers": answers} if live else {}
                    session.open(tasks, self._transport, owned, request, mode)
                    stack.push_async_callback(self._shielded, session.close)
                    yield session
                    await session.close()
                    keeping.cancel()

    async def _acquire_all(self, session: SessionId, avatar: str, stack: AsyncExitStack) -> Owned:
        """Leases on all stages, which `stack` gives back; or an error and none."""
        owned: Owned = {}
        async with AsyncExitStack() as held:
            for stage in reversed(STAGES):  # ours first: whether this gateway is full is known here
                worker, lease = await self._acquire(session, avatar, stage)
                held.push_async_callback(self._shielded, self._release, lease)
                owned[stage] = worker, lease
            stack.push_async_callback(held.pop_all().aclose)
        return owned

    async def _acquire(
        self, session: SessionId, avatar: str, stage: StageName
    ) -> tuple[WorkerInfo, Lease]:
        workers = await self._listed(stage)
        if not workers:
            raise Unavailable(f"no live {stage} worker; try again when /readyz says 200")
        # Of a few drawn ones that with most free: nearly as even as asking all, at a cost that does
        # not grow with the pool (Mitzenmacher 2001), and gateways do not all run to the same one.
        random.shuffle(workers)
        start, count = 0, DRAWN
        while some := workers[start : start + count]:
            start, count = start + count, 4 * count  # a full pool is told in few questions
            loads = await self._bus.loads(*(worker.worker for worker in some))
            free = {
                worker: worker.slots - load
                for worker, load in zip(some, loads, strict=True)
                if load < worker.slots
            }
            for worker in in_order(free, avatar):
                lease = await self._bus.acquire(session, worker)
                if lease is not None:
                    return worker, lease
        slots = sum(worker.slots for worker in workers)
        if stage == "gateway":
            raise GatewayFull(f"all {slots} slots of this gateway are taken")
        raise Busy(f"all {slots} slots of {stage} are taken")

    async def _listed(self, stage: StageName) -> list[WorkerInfo]:
        """Workers that take sessions, as the bus had them less than `LISTED_S` ago."""
        if stage == "gateway" and self.is_draining:  # it need not be told by the bus
            return []
        async with self._listing[stage]:  # a crowd that opens asks once
            listed, until = self._lists.get(stage, ([], 0.0))
            if self._clock() >= until:
                found = await self._bus.workers(stage)
                listed = [worker for worker in found if not worker.draining]
                if stage == "gateway":  # a session stays with the gateway that was asked
                    listed = [worker for worker in listed if worker.worker == self._worker]
                # nobody there is looked for again at once
                self._lists[stage] = listed, self._clock() + (LISTED_S if listed else 0.0)
        return list(listed)

    async def _release(self, lease: Lease) -> None:
        try:
            await self._bus.release(lease)
        except (AvatarError, OSError) as error:  # it runs out by itself
            log.warning("release_failed", stage=lease.stage, error=str(error))

    async def _forget(self, session: SessionId) -> None:
        try:
            await self._bus.forget(session)
        except (AvatarError, OSError) as error:
            log.warning("forget_failed", error=str(error))

    async def _shielded(
        self, clean: Callable[..., Coroutine[Any, Any, None]], *args: object
    ) -> None:
        """Clean up even if the caller is cancelled again meanwhile."""
        task = asyncio.create_task(clean(*args))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)
        await asyncio.shield(task)


def in_order(free: Mapping[WorkerInfo, int], avatar: str) -> list[WorkerInfo]:
    """Workers, by how many slots each has free: whom to ask first for one.

    Of those with about as many free as the one with most, who has the avatar in memory comes first.
    About: an eighth less, so with fewer than eight free just as many; to have it saves some
    milliseconds once, a crowded worker costs its sessions something with every chunk.
    """
    most = max(free.values(), default=0)
    enough = most - most // 8

    def key(worker: WorkerInfo) -> tuple[bool, int]:
        return free[worker] >= enough and avatar in worker.avatars, free[worker]

    return sorted(free, key=key, reverse=True)


async def _connect(
    transport: Transport, owned: Owned, request: OpenRequest, *stages: StageName
) -> Channel:
    """Open an edge to the first of `stages`, which goes on along the others."""
    hops = [Hop(stage, owned[stage][0].address, owned[stage][1].fence) for stage in stages]
    first, *rest = hops
    onward = OpenRequest(
        request.session,
        first.fence,
        request.avatar,
        request.seed,
        request.epoch,
        tuple(rest),
        request.options,
    )
    return await transport.connect(first.address, onward)
