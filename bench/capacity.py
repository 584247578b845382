"""What do a thousand sessions cost the gateways, the stages and the bus, models apart?"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # has no types

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

WORKER_SLOTS, GATEWAY_SLOTS = 4, 125
TOO_MANY = 50
"""Openings more than there are slots."""
CHUNKS = 6
HOLD_S = 10.0
FLAT = 0.10
CLOCK = ChunkClock(fps=25, latents_per_chunk=3, frames_per_latent=4)


def measure(options: Options) -> Values:
    sizes = (8, 16) if options.brief else (125, 250, 500, 1000)
    return {
        "rows": [asyncio.run(measure_size(size, options.repetitions(10, 1))) for size in sizes],
        "chunks": CHUNKS,
        "worker_slots": WORKER_SLOTS,
        "gateway_slots": GATEWAY_SLOTS,
    }


@dataclass
class Used:
    """CPU seconds of this process and of Valkey, so far."""

    ours: float
    bus: float

    def since(self, before: "Used") -> "Used":
        return Used(self.ours - before.ours, self.bus - before.bus)


class Pool:
    """Coordinators and workers, real but for engines and network; the bus is a real Valkey."""

    def __init__(self, coordinators: list[Coordinator], valkey: Valkey) -> None:
        self.coordinators = coordinators
        self._valkey = psutil.Process(valkey.process.pid)

    def used(self) -> Used:
        times = self._valkey.cpu_times()
        return Used(time.process_time(), times.user + times.system)


async def measure_size(size: int, hold_s: float) -> Values:
    """Open `size` sessions and some more at once, hold them, send chunks, close."""
    say(f"capacity: {size} sessions")
    with valkey_server() as valkey:
        async with pool_of(size, valkey) as pool:
            return await run_sessions(pool, size, hold_s)


async def run_sessions(pool: Pool, size: int, hold_s: float) -> Values:
    crowd = Callers(pool, chunks=0)
    everybody = await crowd.come(size + TOO_MANY)
    await crowd.end(everybody)

    callers = Callers(pool, CHUNKS)
    gc.collect()
    memory, before, began = psutil.Process().memory_info().rss, pool.used(), time.perf_counter()
    tasks = await callers.come(size)
    open_s, opened = time.perf_counter() - began, pool.used()
    memory = psutil.Process().memory_info().rss - memory
    await callers.come(TOO_MANY)  # all slots are taken: each goes away by itself
    turned_away = pool.used()
    await asyncio.sleep(hold_s)
    held, spoken_at = pool.used(), time.perf_counter()
    await callers.speak()
    spoken_s, spoken = time.perf_counter() - spoken_at, pool.used()
    await callers.end(tasks)
    closed = pool.used()
    hold, chunk = held.since(turned_away), spoken.since(held)
    # leases are renewed while chunks pass: that is the holding's
    chunk_ours = chunk.ours - hold.ours / hold_s * spoken_s
    return {
        "sessions": size,
        "admitted": crowd.num_open,
        "refused": crowd.num_refused,
        "workers": len(pool.coordinators) + 4 * -(-size // WORKER_SLOTS),
        "opens_per_s": size / open_s,
        "open_ms": 1000 * opened.since(before).ours / size,
        "open_bus_ms": 1000 * opened.since(before).bus / size,
        "refusal_ms": 1000 * turned_away.since(opened).ours / TOO_MANY,
        "hold_ms_per_s": 1000 * hold.ours / size / hold_s,
        "hold_bus_ms_per_s": 1000 * hold.bus / size / hold_s,
        "chunk_ms": 1000 * chunk_ours / size / CHUNKS,
        "close_ms": 1000 * closed.since(spoken).ours / size,
        "memory_kb": memory / size / 1000,
    }


class Callers:
    """They open at once; who got in waits, speaks when told, and leaves when told."""

    def __init__(self, pool: Pool, chunks: int) -> None:
        self._coordinators = pool.coordinators
        self._chunks = chunks
        self.num_open = self.num_refused = self._num_spoken = 0
        self._go, self._leave = asyncio.Event(), asyncio.Event()
        self._changed = asyncio.Condition()

    async def come(self, count: int) -> "list[asyncio.Task[None]]":
        """`count` more of them, once each is in or was refused."""
        until = self.num_open + self.num_refused + count
        tasks = [asyncio.create_task(self._call(number)) for number in range(count)]
        async with self._changed:
            await self._changed.wait_for(lambda: self.num_open + self.num_refused == until)
        return tasks

    async def speak(self) -> None:
        self._go.set()
        async with self._changed:
            await self._changed.wait_for(lambda: self._num_spoken == self.num_open)

    async def end(self, tasks: "list[asyncio.Task[None]]") -> None:
        self._leave.set()
        await asyncio.gather(*tasks)

    async def _call(self, number: int) -> None:
        """At each gateway in turn until one has a slot, as a client behind a balancer would."""
        count = len(self._coordinators)
        for attempt in range(count):
            coordinator = self._coordinators[(number + attempt) % count]
            try:
                async with coordinator.session("null") as session:
                    await self._count("num_open")
                    if self._chunks:
                        await self._go.wait()
                        await speak(session, self._chunks)
                        await self._count("_num_spoken")
                    await self._leave.wait()
                    return
            except Busy:
                continue
        await self._count("num_refused")

    async def _count(self, name: str) -> None:
        async with self._changed:
            setattr(self, name, getattr(self, name) + 1)
            self._changed.notify_all()


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
async def pool_of(size: int, valkey: Valkey) -> AsyncIterator[Pool]:
    """As many workers as `size` sessions need, and gateways."""
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:

        def bus() -> RedisBus:
            made = RedisBus(valkey.url)
            stack.push_async_callback(made.close)
            return made

        async def serve(kind: StageKind[Any], engine: Engine[Any, Any, Any]) -> None:
            shared = bus()
            for number in range(-(-size // WORKER_SLOTS)):
                worker = WorkerId(f"{kind.name}-{number}")
                transport = MemoryTransport(network)
                stage = Stage(kind, engine, shared, transport, worker, slots=WORKER_SLOTS)
                stack.push_async_callback(stage.close)
                await stage.start()

        await serve(AUDIO_ENCODER, NullEncoder())
        await serve(SCORE_WORKER, NullPainter())
        await serve(VAE_DECODER, NullDecoder())
        shared = bus()
        for number in range(-(-size // WORKER_SLOTS)):
            host = SessionHost(
                "audio_llm", WorkerId(f"audio_llm-{number}"), shared, MemoryTransport(network),
                slots=WORKER_SLOTS,
            )  # fmt: skip
            stack.push_async_callback(host.close)
            await host.start(lambda inbound, lease: listen(inbound))
        coordinators = []
        for number in range(max(2, -(-size // GATEWAY_SLOTS))):
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
        "sessions", "workers", "admitted", "refused", "opens a second", "open, ms", "of the bus",
        "refusal, ms",
        "second of holding, ms", "of the bus", "chunk, ms", "close, ms", "memory, kB",
    ]  # fmt: skip
    keys = [
        "sessions", "workers", "admitted", "refused", "opens_per_s", "open_ms", "open_bus_ms",
        "refusal_ms",
        "hold_ms_per_s", "hold_bus_ms_per_s", "chunk_ms", "close_ms", "memory_kb",
    ]  # fmt: skip
    return "\n".join(
        [
            f"Admitted, refused: of {TOO_MANY} openings more than slots, all at once. Workers of "
            f"{WORKER_SLOTS} slots, gateways of {GATEWAY_SLOTS}, all in one process over one "
            "Valkey, edges in memory, engines that compute nothing: what is left is leases, line, "
            "renewals, edges, order. CPU time a session; of the bus: Valkey's own.\n",
            table(head, [[row[key] for key in keys] for row in values["rows"]]),
            bars(bar_rows(values)),
        ]
    )


def bar_rows(values: Values) -> list[tuple[str, object, str, bool]]:
    rows = values["rows"]
    exact = all(row["admitted"] == row["sessions"] for row in rows)
    last = rows[-1]
    told: list[tuple[str, object, str, bool]] = [
        (
            f"admitted of {last['sessions'] + TOO_MANY} at once", last["admitted"],
            f"exactly {last['sessions']}", exact,
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
