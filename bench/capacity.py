"""What do a thousand sessions cost the gateways, the stages and the bus, models apart?"""

import asyncio
import gc
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # has no types

from avatar.bus import WORKER_TTL_S
from avatar.bus.redis import RedisBus
from avatar.bus.valkey import Valkey, valkey_server
from avatar.errors import Busy
from avatar.media import AudioChunk, Stamp, WorkerId
from avatar.timebase import ChunkClock
from avatar.transport import Inbound
from avatar.transport.memory import MemoryNetwork, MemoryTransport
from bench.machine import say
from bench.null_engines import NullDecoder, NullEncoder, NullPainter
from bench.options import Options
from bench.results import Values, bars, table
from services.gateway.coordinator import Coordinator, Session
from services.stage import AUDIO_ENCODER, SCORE_WORKER, VAE_DECODER, Engine, Stage, StageKind
from services.worker import SessionHost

WORKER_SLOTS, GATEWAY_SLOTS = 8, 125
SPARE = 0.25
"""Slots more than sessions, as an autoscaled pool has: of the slots, a fifth."""
TOO_MANY = 50
"""Openings more than there are slots."""
WAVE = 25
"""So many open, speak and end at once while the cost of it is measured."""
SETTLE_S = 2.0
"""Edges still open, and ledgers are still written, when callers have what they came for."""
SHARE_A_BUS = 16
"""Workers with a connection pool in common; in a process each, they have one each."""
CHUNKS = 24
FLAT = 0.10
CLOCK = ChunkClock(fps=25, latents_per_chunk=3, frames_per_latent=4)


def measure(options: Options) -> Values:
    sizes = (8, 16) if options.brief else (125, 250, 500, 1000)
    hold_s = options.repetitions(10, 1)
    # there and back: a machine that slows down meanwhile does so for all sizes alike
    made = [asyncio.run(measure_size(size, hold_s)) for size in (*sizes, *reversed(sizes))]
    return {
        "rows": [both(made[place], made[-1 - place]) for place in range(len(sizes))],
        "chunks": CHUNKS,
        "worker_slots": WORKER_SLOTS,
        "gateway_slots": GATEWAY_SLOTS,
    }


def both(first: Values, second: Values) -> Values:
    """The mean of two measurements of one size; of what must be exact, both if they differ."""
    exact = ("slots", "workers", "admitted", "refused", "sessions")
    return {
        key: (first[key] if first[key] == second[key] else f"{first[key]} and {second[key]}")
        if key in exact
        else (first[key] + second[key]) / 2
        for key in first
    }


@dataclass
class Used:
    """CPU seconds of this process and of Valkey, and the time."""

    ours: float
    bus: float
    at_s: float

    def since(self, before: "Used") -> "Used":
        return Used(self.ours - before.ours, self.bus - before.bus, self.at_s - before.at_s)

    def beside(self, rest: "Used") -> "Used":
        """Without what the pool uses while nothing happens, as `rest` was."""
        share = self.at_s / rest.at_s
        return Used(self.ours - share * rest.ours, self.bus - share * rest.bus, self.at_s)


class Pool:
    """Coordinators and workers, real but for engines and network; the bus is a real Valkey."""

    def __init__(self, coordinators: list[Coordinator], valkey: Valkey) -> None:
        self.coordinators = coordinators
        self._valkey = psutil.Process(valkey.process.pid)

    def used(self) -> Used:
        times = self._valkey.cpu_times()
        return Used(time.process_time(), times.user + times.system, time.perf_counter())

    async def rest(self, seconds: float) -> Used:
        """What it uses by itself."""
        before = self.used()
        await asyncio.sleep(seconds)
        return self.used().since(before)


@contextmanager
def quiet_garbage() -> Iterator[None]:
    """A process with the objects of hundreds would stand still for each look through all."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def measure_size(size: int, hold_s: float) -> Values:
    """Fill all slots at once and overfill them; then open, hold, use and close `size` sessions."""
    say(f"capacity: {size} sessions")
    num_workers = math.ceil(size * (1 + SPARE) / WORKER_SLOTS)
    with quiet_garbage(), valkey_server() as valkey:
        async with pool_of(num_workers, valkey) as pool:
            beats = await pool.rest(hold_s)  # hearts beat, whoever comes
            crowd = await crowd_in(pool, num_workers * WORKER_SLOTS, beats)
            return crowd | await run_sessions(pool, size, beats, hold_s)


async def crowd_in(pool: Pool, slots: int, beats: Used) -> Values:
    """More than there are slots, all at once; and some when all slots are taken."""
    crowd = await come(pool, slots + TOO_MANY)
    before = pool.used()
    late = await come(pool, TOO_MANY)
    refused = pool.used().since(before).beside(beats)
    await go_away(crowd)
    return {
        "slots": slots,
        "workers": len(pool.coordinators) + 4 * slots // WORKER_SLOTS,
        "admitted": len(crowd) + len(late),
        "refused": slots + 2 * TOO_MANY - len(crowd) - len(late),
        "refusal_ms": 1000 * refused.ours / TOO_MANY,
    }


async def run_sessions(pool: Pool, size: int, beats: Used, hold_s: float) -> Values:
    gc.collect()
    await asyncio.sleep(WORKER_TTL_S)  # whoever was too busy to beat is there again
    before = pool.used()
    callers: list[Caller] = []
    while len(callers) < size:
        callers += await come(pool, min(WAVE, size - len(callers)), CHUNKS)
    took_s = pool.used().since(before).at_s
    await asyncio.sleep(SETTLE_S)
    opening = pool.used().since(before)
    hold = await pool.rest(hold_s)
    before = pool.used()
    await talk(callers)
    await asyncio.sleep(SETTLE_S)
    talking = pool.used().since(before).beside(hold)
    before = pool.used()
    await go_away(callers)
    await asyncio.sleep(SETTLE_S)
    closing = pool.used().since(before).beside(beats)
    # those that are in are held while others open: half of them, on an average, then all
    held_s = took_s / 2 + SETTLE_S
    opened, holding = opening.beside(beats), hold.beside(beats)
    opened = Used(
        opened.ours - holding.ours / hold.at_s * held_s,
        opened.bus - holding.bus / hold.at_s * held_s,
        opened.at_s,
    )
    return {
        "sessions": size,
        "opens_per_s": size / took_s,
        "open_ms": 1000 * opened.ours / size,
        "open_bus_ms": 1000 * opened.bus / size,
        "hold_ms_per_s": 1000 * hold.ours / size / hold.at_s,
        "hold_bus_ms_per_s": 1000 * hold.bus / size / hold.at_s,
        "chunk_ms": 1000 * talking.ours / size / CHUNKS,
        "close_ms": 1000 * closing.ours / size,
    }


class Caller:
    """One that opens a session at the gateway that a balancer gave it.

    Who gets in speaks when told, and leaves when told. Its futures end with the error that ends it.
    """

    def __init__(self, coordinator: Coordinator, chunks: int) -> None:
        loop = asyncio.get_running_loop()
        self._chunks = chunks
        self.is_in: asyncio.Future[bool] = loop.create_future()
        self.has_spoken: asyncio.Future[None] = loop.create_future()
        self.go, self.leave = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._call(coordinator))
        self.task.add_done_callback(self._pass_on)

    async def _call(self, coordinator: Coordinator) -> None:
        try:
            async with coordinator.session("null") as session:
                self.is_in.set_result(True)
                await self.go.wait()
                await speak(session, self._chunks)
                self.has_spoken.set_result(None)
                await self.leave.wait()
        except Busy:
            self.is_in.set_result(False)

    def _pass_on(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        for future in (self.is_in, self.has_spoken):
            if error is not None and not future.done():
                future.set_exception(error)
                future.exception()  # who does not wait for it need not hear of it


async def come(pool: Pool, count: int, chunks: int = 0) -> list[Caller]:
    """`count` at once; answers those who got in, once each is in or was refused."""
    gateways = cycle(pool.coordinators)
    callers = [Caller(next(gateways), chunks) for _ in range(count)]
    got_in = await asyncio.gather(*(each.is_in for each in callers))
    return [each for each, is_in in zip(callers, got_in, strict=True) if is_in]


async def talk(callers: Sequence[Caller]) -> None:
    for wave in waves(callers):
        for each in wave:
            each.go.set()
        await asyncio.gather(*(each.has_spoken for each in wave))


async def go_away(callers: Sequence[Caller]) -> None:
    for wave in waves(callers):
        for each in wave:
            each.go.set()
            each.leave.set()
        await asyncio.gather(*(each.task for each in wave))


def waves(callers: Sequence[Caller]) -> Iterator[Sequence[Caller]]:
    return (callers[start : start + WAVE] for start in range(0, len(callers), WAVE))


async def speak(session: Session, chunks: int) -> None:
    samples = np.zeros(CLOCK.samples_per_latent(16_000) * CLOCK.latents_per_chunk, np.float32)

    async def send() -> None:
        for seq in range(chunks):
            await session.send(AudioChunk(Stamp(session.id, 0, seq, session.fence, 0), samples))

    sending = asyncio.create_task(send())
    for _ in range(chunks):
        if await session.next_frames() is None:
            raise RuntimeError("the frames ended early")
    await sending


@asynccontextmanager
async def pool_of(num_workers: int, valkey: Valkey) -> AsyncIterator[Pool]:
    """So many workers of each stage, and gateways for all their slots."""
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:

        def bus() -> RedisBus:
            made = RedisBus(valkey.url)
            stack.push_async_callback(made.close)
            return made

        def shared_buses() -> list[RedisBus]:
            made = [bus() for _ in range(math.ceil(num_workers / SHARE_A_BUS))]
            return [made[number // SHARE_A_BUS] for number in range(num_workers)]

        async def serve(kind: StageKind[Any], engine: Engine[Any, Any, Any]) -> None:
            for number, shared in enumerate(shared_buses()):
                worker = WorkerId(f"{kind.name}-{number}")
                transport = MemoryTransport(network)
                stage = Stage(kind, engine, shared, transport, worker, slots=WORKER_SLOTS)
                stack.push_async_callback(stage.close)
                await stage.start()

        await serve(AUDIO_ENCODER, NullEncoder())
        await serve(SCORE_WORKER, NullPainter())
        await serve(VAE_DECODER, NullDecoder())
        for number, shared in enumerate(shared_buses()):
            host = SessionHost(
                "audio_llm", WorkerId(f"audio_llm-{number}"), shared, MemoryTransport(network),
                slots=WORKER_SLOTS,
            )  # fmt: skip
            stack.push_async_callback(host.close)
            await host.start(lambda inbound, lease: listen(inbound))
        coordinators = []
        for number in range(max(2, math.ceil(num_workers * WORKER_SLOTS / GATEWAY_SLOTS))):
            coordinator = Coordinator(
                bus(), MemoryTransport(network), WorkerId(f"gateway-{number}"),
                slots=GATEWAY_SLOTS, chunk_deadline_s=120.0,
            )  # fmt: skip
            stack.push_async_callback(coordinator.close)
            await coordinator.start()
            coordinators.append(coordinator)
        yield Pool(coordinators, valkey)


async def listen(inbound: Inbound) -> None:
    while await inbound.receive() is not None:
        pass


def report(values: Values) -> str:
    head = [
        "sessions", "workers", "slots", "admitted", "refused", "refusal, ms",
        "opens a second", "open, ms", "of the bus",
        "second of holding, ms", "of the bus", "chunk, ms", "close, ms",
    ]  # fmt: skip
    keys = [
        "sessions", "workers", "slots", "admitted", "refused", "refusal_ms",
        "opens_per_s", "open_ms", "open_bus_ms",
        "hold_ms_per_s", "hold_bus_ms_per_s", "chunk_ms", "close_ms",
    ]  # fmt: skip
    return "\n".join(
        [
            f"Admitted, refused: of {TOO_MANY} openings more than slots, all at once, and of "
            f"{TOO_MANY} more when all slots are taken. The rest with {100 * SPARE:.0f} % more "
            f"slots than sessions, which open {WAVE} at a time. Workers of {WORKER_SLOTS} slots, "
            f"gateways of {GATEWAY_SLOTS}, all in one process over one Valkey, edges in memory, "
            "engines that compute nothing: what is left is leases, line, renewals, edges, order. "
            "CPU time a session, without the workers' heartbeats except in the second of holding; "
            "of the bus: Valkey's own.\n",
            table(head, [[row[key] for key in keys] for row in values["rows"]]),
            bars(bar_rows(values)),
        ]
    )


def bar_rows(values: Values) -> list[tuple[str, object, str, bool]]:
    rows = values["rows"]
    exact = all(row["admitted"] == row["slots"] for row in rows)
    last = rows[-1]
    told: list[tuple[str, object, str, bool]] = [
        (
            f"admitted of {last['slots'] + TOO_MANY} at once", last["admitted"],
            f"exactly {last['slots']}", exact,
        )
    ]  # fmt: skip
    for key, name in (
        ("open_ms", "opening"),
        ("hold_ms_per_s", "holding"),
        ("chunk_ms", "chunk"),
    ):
        costs = [row[key] for row in rows]
        middle = sum(costs) / len(costs)
        spread = max(abs(cost - middle) for cost in costs) / middle
        told.append(
            (
                f"{name}: cost a session, most off the mean",
                spread,
                f"at most {FLAT}",
                spread <= FLAT,
            )
        )
    return told
