"""What every worker does alike: heartbeat, leases checked at the door, no more than its slots."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace

from avatar.bus import WORKER_TTL_S, Bus, Lease, Measured, WorkerInfo
from avatar.errors import AvatarError, Busy, ChannelClosed, Fenced
from avatar.media import StageName, WorkerId
from avatar.telemetry import metrics
from avatar.telemetry.logging import bound, get_logger
from avatar.transport import Channel, Inbound, OpenRequest, Transport
from services.garbage import sweep

log = get_logger(__name__)

SLOT_WAIT_S = 2.0
"""How long a new session waits for the compute of one whose lease has just ended."""

LISTED_S = 1.0
"""A worker that comes or goes is noticed so late by those who open sessions."""
DRAIN_POLL_S = 0.5
DRAIN_TTL_S = 3600.0
"""A wish is kept for so long after the worker last looked for it."""

Serve = Callable[[Inbound, Lease], Awaitable[None]]
"""Serves one edge of a session whose lease is ours."""


Avatars = Callable[[], tuple[str, ...]]
"""Which avatars are in memory now."""


class Heartbeat:
    """Says on the bus, again and again, that a worker is there, and what is in its memory."""

    def __init__(
        self,
        bus: Bus,
        info: WorkerInfo,
        interval_s: float = WORKER_TTL_S / 3,
        avatars: Avatars = tuple,
    ) -> None:
        self.info = info
        self._avatars = avatars
        self._bus = bus
        self._interval_s = interval_s
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._bus.advertise(self.info)
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._listen())]

    def check(self) -> None:
        """Raise if the heart has stopped.

        Raises:
            RuntimeError: So that Serve replaces the replica.
        """
        if not self._tasks or any(task.done() for task in self._tasks):
            raise RuntimeError(f"the heartbeat of {self.info.worker} has stopped")

    async def drain(self) -> None:
        """Take no new sessions from now on."""
        self.info = replace(self.info, draining=True)
        await self._bus.advertise(self.info)

    async def stop(self) -> None:
        self._stopped.set()
        if self._tasks:
            await asyncio.gather(*self._tasks)
            with suppress(AvatarError, OSError):  # an unreachable bus forgets us by itself
                await self._bus.withdraw(self.info.worker)
        self._tasks = []

    async def _beat(self) -> None:
        async def say() -> None:
            self.info = replace(self.info, avatars=self._avatars())
            await self._bus.advertise(self.info)

        await self._again_and_again(say)

    async def _listen(self) -> None:
        """Apart from the beats: where many ask the bus an answer is late, and beats may not be."""

        async def listen() -> None:
            if not self.info.draining and await is_asked_to_drain(self._bus, self.info.worker):
                log.info("worker_draining", stage=self.info.stage, worker=self.info.worker)
                await self.drain()

        await self._again_and_again(listen)

    async def _again_and_again(self, do: Callable[[], Awaitable[None]]) -> None:
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._interval_s)
                return
            try:
                await do()
            except (AvatarError, OSError) as error:  # the bus may come back; media goes on
                log.warning("heartbeat_failed", worker=self.info.worker, error=str(error))


async def ask_to_drain(bus: Bus, worker: WorkerId) -> None:
    """Have a worker, wherever it is, take no new sessions; it hears of it with its next beat."""
    await bus.spend(f"drain:{worker}", "operator", 1.0, DRAIN_TTL_S)


async def is_asked_to_drain(bus: Bus, worker: WorkerId) -> bool:
    return await bus.spend(f"drain:{worker}", "", 0.0, DRAIN_TTL_S) > 0


async def until_free(bus: Bus, worker: WorkerId, limit_s: float) -> None:
    """Until nobody leases a slot of a worker that drains, or `limit_s` seconds have passed.

    For as long as lists of before may be in use somebody may yet come. A bus that does not answer
    is waited for: sessions go on without it for a while.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await asyncio.sleep(LISTED_S + DRAIN_POLL_S)
            while True:
                with suppress(AvatarError, OSError):
                    if await bus.loads(worker) == [0]:
                        return
                await asyncio.sleep(DRAIN_POLL_S)


async def load_of(
    bus: Bus, worker: WorkerId, slots: int, is_draining: bool = False
) -> dict[str, float]:
    """What autoscaling goes by; see services/autoscaling.py.

    Whoever takes no new sessions has no free slot: an operator who drains it wants another one.
    """
    [leased] = [slots] if is_draining else await bus.loads(worker)
    waiting = await bus.line_length()
    return {"slots": float(slots), "leased": float(leased), "waiting": float(waiting)}


class SessionHost:
    """Listens for the edges of one worker, and lets in those that hold its lease."""

    def __init__(
        self,
        stage: StageName,
        worker: WorkerId,
        bus: Bus,
        transport: Transport,
        *,
        slots: int,
        measured: Measured | None = None,
        avatars: Avatars = tuple,
    ) -> None:
        self.stage = stage
        self.num_sessions = 0
        self._worker = worker
        self._bus = bus
        self._transport = transport
        self._slots = slots
        self._measured = measured
        self._avatars = avatars
        self._free = asyncio.Semaphore(slots)
        self._heartbeat: Heartbeat | None = None

    async def start(self, serve: Serve) -> WorkerInfo:
        """Listen, and become known on the bus."""

        async def let_in(inbound: Inbound) -> None:
            with bound(stage=self.stage, session=inbound.request.session):
                lease = await self._claim(inbound.request)
                async with self._slot():
                    await serve(inbound, lease)

        address = await self._transport.listen(let_in)
        info = WorkerInfo(
            self._worker,
            self.stage,
            address,
            self._slots,
            self._avatars(),
            measured=self._measured,
        )
        self._heartbeat = Heartbeat(self._bus, info, avatars=self._avatars)
        await self._heartbeat.start()
        metrics.slots.labels(self.stage).set(self._slots)
        found = {} if self._measured is None else asdict(self._measured)
        log.info(
            "worker_started",
            stage=self.stage,
            worker=self._worker,
            address=address,
            slots=self._slots,
            **found,
        )
        return info

    def check_health(self) -> None:
        if self._heartbeat is None:
            raise RuntimeError(f"{self.stage} is not started")
        self._heartbeat.check()

    async def load(self) -> dict[str, float]:
        is_draining = self._heartbeat is not None and self._heartbeat.info.draining
        return await load_of(self._bus, self._worker, self._slots, is_draining)

    async def drain(self, limit_s: float) -> None:
        """Take no new sessions, and wait until those that are here have ended, or `limit_s`."""
        if self._heartbeat is not None:
            await self._heartbeat.drain()
            log.info("worker_draining", stage=self.stage, worker=self._worker)
            await until_free(self._bus, self._worker, limit_s)

    async def close(self) -> None:
        """Idempotent."""
        if self._heartbeat is not None:
            await self._heartbeat.stop()
            self._heartbeat = None
        await self._transport.close()

    async def _claim(self, request: OpenRequest) -> Lease:
        lease = Lease(request.session, self.stage, self._worker, request.fence)
        if not await self._bus.renew(lease):
            raise Fenced(
                f"{self._worker} holds no lease with fence {request.fence} for this session; "
                "acquire one first"
            )
        return lease

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(SLOT_WAIT_S):
                await self._free.acquire()
        except TimeoutError as error:
            raise Busy(f"all {self._slots} slots of {self._worker} are computing") from error
        self.num_sessions += 1
        metrics.sessions.labels(self.stage).inc()
        try:
            yield
        finally:
            self.num_sessions -= 1
            metrics.sessions.labels(self.stage).dec()
            self._free.release()
            # a moment later, when nothing on the way out holds the session's state any more
            asyncio.get_running_loop().call_later(1.0, sweep)


async def until_done(channel: Channel) -> None:
    """Wait for the other end to be done; its error, if it has one, is raised here."""
    while await channel.receive() is not None:
        pass


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup that raises the one error that says most instead of a group of them."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise telling(group) from None


def telling(group: "BaseExceptionGroup[BaseException]") -> BaseException:
    """The error of a group to tell: what was raised on purpose before what merely followed."""

    def rank(error: BaseException) -> int:
        if isinstance(error, ChannelClosed):
            return 2  # a channel closes because something else went wrong
        return 0 if isinstance(error, AvatarError) else 1

    return min(_leaves(group), key=rank)


def _leaves(group: "BaseExceptionGroup[BaseException]") -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves
