"""A stage between a sender and a receiver in memory: order, epochs, fences, commits, ends."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from avatar import wire
from avatar.bus import CommitResult, Lease, WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.errors import (
    AvatarError,
    Busy,
    Fenced,
    InvalidInput,
    NotFound,
    SessionLost,
    Unavailable,
)
from avatar.media import AudioChunk, AudioEmbedding, Chunk, SessionId, Stamp, TurnEvent, WorkerId
from avatar.transport import Channel, Hop, Inbound, OpenRequest
from avatar.transport.memory import MemoryNetwork, MemoryTransport
from services import worker
from services.precedence import LAX_S
from services.stage import AUDIO_ENCODER, Engine, Stage
from tests.fakes.engines import Loudness, LoudnessEncoder

pytestmark = pytest.mark.unit

SESSION = SessionId("session-1")


def audio(seq: int, epoch: int = 0, fence: int = 1, level: float = 0.1) -> AudioChunk:
    samples = np.full(7_680, level, np.float32)
    return AudioChunk(Stamp(SESSION, epoch, seq, fence, seq * 23_040), samples)


@dataclass
class Bench:
    """One stage, somebody before it and somebody after it."""

    bus: MemoryBus
    stage: Stage[Any, Any, Any]
    info: WorkerInfo
    sender: MemoryTransport
    end: str
    received: list[Chunk] = field(default_factory=list)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(
        self, avatar: str = "mira", fence: int | None = None, session: SessionId = SESSION
    ) -> Channel:
        lease = await self.bus.acquire(session, self.info)
        assert lease is not None
        hop = Hop("score_worker", self.end, fence=1)
        request = OpenRequest(session, fence or lease.fence, avatar, seed=5, route=(hop,))
        return await self.sender.connect(self.info.address, request)

    async def finished(self, channel: Channel) -> None:
        """Say that no more comes, and wait for the stage's last word."""
        await channel.finish()
        assert await channel.receive() is None

    @property
    def seqs(self) -> list[int]:
        return [chunk.stamp.seq for chunk in self.received]


@asynccontextmanager
async def bench(
    engine: Callable[[], Engine[Any, Any, Any]] = LoudnessEncoder,
    bus: MemoryBus | None = None,
    slots: int = 2,
    clock: Callable[[], float] = time.monotonic,
    max_batch: int = 1,
) -> AsyncIterator[Bench]:
    bus, network = bus or MemoryBus(), MemoryNetwork()
    stage = Stage(
        AUDIO_ENCODER,
        engine(),
        bus,
        MemoryTransport(network),
        WorkerId("audio_encoder-1"),
        slots=slots,
        max_batch=max_batch,
        clock=clock,
    )
    sender, receiver = MemoryTransport(network), MemoryTransport(network)
    made: Bench

    async def take(inbound: Inbound) -> None:
        while (chunk := await inbound.receive()) is not None:
            made.received.append(chunk)
        made.is_done.set()

    end = await receiver.listen(take)
    made = Bench(bus, stage, await stage.start(), sender, end)
    try:
        yield made
    finally:
        await sender.close()
        await receiver.close()
        await stage.close()


async def test_chunks_come_out_in_order_with_the_fence_of_this_stage() -> None:
    async with bench() as b:
        channel = await b.open()
        for seq in range(5):
            await channel.send(replace(audio(seq, fence=9), last=seq == 4))
        await b.finished(channel)
        assert b.seqs == [0, 1, 2, 3, 4]
        assert {chunk.stamp.fence for chunk in b.received} == {1}
        assert [getattr(chunk, "last", None) for chunk in b.received] == [False] * 4 + [True]
        assert b.is_done.is_set()


async def test_the_stages_state_goes_from_chunk_to_chunk() -> None:
    async with bench() as b:
        channel = await b.open()
        for seq, level in enumerate((0.2, 0.4)):
            await channel.send(audio(seq, level=level))
        await b.finished(channel)
        tokens = [float(getattr(chunk, "tokens")[0, 0, 0]) for chunk in b.received]  # noqa: B009
        assert tokens == pytest.approx([0.2, 0.4 + 0.5 * 0.2])


async def test_a_chunk_that_comes_twice_is_computed_once() -> None:
    async with bench() as b:
        channel = await b.open()
        for seq in (0, 1, 1, 0, 2):
            await channel.send(audio(seq))
        await b.finished(channel)
        assert b.seqs == [0, 1, 2]


async def test_a_missing_chunk_loses_the_session() -> None:
    async with bench() as b:
        channel = await b.open()
        await channel.send(audio(0))
        await channel.send(audio(2))
        with pytest.raises(SessionLost, match="chunk 2 after chunk 0"):
            await channel.receive()


async def test_a_new_epoch_may_leave_chunks_out_but_never_goes_back() -> None:
    async with bench() as b:
        channel = await b.open()
        for chunk in (audio(0), audio(1), audio(5, epoch=1), audio(6, epoch=1)):
            await channel.send(chunk)
        await b.finished(channel)
        assert b.seqs[-2:] == [5, 6]


async def test_work_of_an_epoch_that_ended_meanwhile_is_not_passed_on() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(LoudnessEncoder):
        def step(self, chunk: Any, state: Any, /) -> Any:
            if chunk.stamp.seq == 1:
                loop.call_soon_threadsafe(started.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(timeout=10)
            return super().step(chunk, state)

    async with bench(Slow) as b:
        channel = await b.open()
        await channel.send(audio(0, level=0.2))
        await channel.send(audio(1, level=0.9))
        await started.wait()
        await channel.cancel(1)
        go_on.set()
        await channel.send(audio(2, epoch=1, level=0.4))
        await b.finished(channel)
        assert b.seqs == [0, 2]
        # chunk 1 left no trace in the state: the memory is that of chunk 0
        assert float(getattr(b.received[-1], "tokens")[0, 0, 0]) == pytest.approx(0.5)  # noqa: B009


async def test_an_edge_without_the_lease_is_refused() -> None:
    async with bench() as b:
        with pytest.raises(Fenced, match="fence 4"):
            await b.open(fence=4)
        assert b.stage.host.num_sessions == 0


async def test_an_avatar_that_the_engine_does_not_know_is_refused_at_the_door() -> None:
    async with bench() as b:
        with pytest.raises(NotFound):
            await b.open(avatar="nobody")
        assert b.stage.host.num_sessions == 0


async def test_a_stage_that_still_computes_for_others_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "SLOT_WAIT_S", 0.01)
    async with bench(slots=1) as b:
        channel = await b.open()
        await b.bus.forget(SESSION)  # the lease is gone, the edge is still there
        with pytest.raises(Busy):
            await b.open()
        await channel.close()


async def test_a_chunk_of_another_kind_is_refused() -> None:
    async with bench() as b:
        channel = await b.open()
        await channel.send(TurnEvent(Stamp(SESSION, 0, 0, 1, 0), "text", "hello"))
        with pytest.raises(InvalidInput, match="AudioChunk"):
            await channel.receive()


async def test_what_goes_wrong_further_on_is_told_to_the_sender() -> None:
    async with bench() as b:

        async def refuse(inbound: Inbound) -> None:
            await inbound.receive()
            raise SessionLost("the decoder lost its state")

        other = MemoryTransport(b.sender._network)
        b.end = await other.listen(refuse)
        channel = await b.open()
        await channel.send(audio(0))
        with pytest.raises(SessionLost, match="decoder"):
            await channel.receive()
        await other.close()


async def test_a_route_that_ends_here_is_refused() -> None:
    async with bench() as b:
        lease = await b.bus.acquire(SESSION, b.info)
        assert lease is not None
        with pytest.raises(InvalidInput, match="route"):
            await b.sender.connect(b.info.address, OpenRequest(SESSION, lease.fence, "mira", 5))


async def test_what_was_sent_stands_in_the_ledger() -> None:
    async with bench() as b:
        channel = await b.open()
        for seq in range(3):
            await channel.send(audio(seq))
        await b.finished(channel)
        entries = await b.bus.replay(SESSION, "audio_encoder")
        assert [entry.seq for entry in entries] == [0, 1, 2]
        assert [wire.decode(entry.payload).stamp.seq for entry in entries] == [0, 1, 2]


async def test_a_stage_with_a_newer_owner_stops() -> None:
    class Stolen(MemoryBus):
        async def commit(self, lease: Lease, seq: int, payload: bytes, /) -> CommitResult:
            return "fenced" if seq == 1 else await super().commit(lease, seq, payload)

    async with bench(bus=Stolen()) as b:
        channel = await b.open()
        await channel.send(audio(0))
        await channel.send(audio(1))
        with pytest.raises(Fenced, match="newer owner"):
            await channel.receive()


async def test_media_goes_on_while_the_bus_is_away() -> None:
    class Away(MemoryBus):
        async def commit(self, lease: Lease, seq: int, payload: bytes, /) -> CommitResult:
            raise Unavailable("Redis does not answer")

    async with bench(bus=Away()) as b:
        channel = await b.open()
        for seq in range(10):
            await channel.send(audio(seq))
        await b.finished(channel)
        assert b.seqs == list(range(10))


async def test_a_stage_ends_though_its_bus_swallows_the_cancellation() -> None:
    is_committing = asyncio.Event()

    class Swallowing(MemoryBus):  # as redis-py can, on Python 3.11
        async def commit(self, lease: Lease, seq: int, payload: bytes, /) -> CommitResult:
            is_committing.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return "committed"

    async with bench(bus=Swallowing()) as b:
        channel = await b.open()
        await channel.send(audio(0))
        await is_committing.wait()
        await channel.send(audio(2))  # a gap: the session is lost
        with pytest.raises(SessionLost):
            await channel.receive()
        assert b.stage.host.num_sessions == 0


async def test_an_engine_that_fails_is_a_failure_of_this_session_only() -> None:
    class Failing(LoudnessEncoder):
        def step(self, chunk: Any, state: Any, /) -> Any:
            raise FloatingPointError("not a number")

    async with bench(Failing) as b:
        channel = await b.open()
        await channel.send(audio(0))
        with pytest.raises(AvatarError, match="failed"):
            await channel.receive()
        await channel.close()
        b.stage.host.check_health()
        assert b.received == []


async def test_a_closed_stage_is_no_longer_listed_and_closes_twice() -> None:
    async with bench() as b:
        assert len(await b.bus.workers("audio_encoder")) == 1
        await b.stage.close()
        await b.stage.close()
        assert await b.bus.workers("audio_encoder") == []


async def test_a_draining_stage_says_so() -> None:
    async with bench() as b:
        await b.stage.host.drain(60)
        assert [info.draining for info in await b.bus.workers("audio_encoder")] == [True]


class GatedEncoder(LoudnessEncoder):
    """Computes nothing before its gate opens; keeps whose chunks it took, in order."""

    def __init__(self) -> None:
        self.gate, self.reached = threading.Event(), threading.Event()
        self.taken: list[tuple[str, int]] = []

    def step(self, chunk: AudioChunk, state: Loudness, /) -> tuple[AudioEmbedding, Loudness]:
        self.taken.append((chunk.stamp.session, chunk.stamp.seq))
        self.reached.set()
        if not self.gate.wait(30):
            raise TimeoutError("nobody opened the gate")
        return super().step(chunk, state)


class BatchEncoder(GatedEncoder):
    """Knows whose chunks it took together."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def step_many(
        self, chunks: Sequence[AudioChunk], states: Sequence[Loudness], /
    ) -> list[tuple[AudioEmbedding, Loudness]]:
        self.batches.append([chunk.stamp.session for chunk in chunks])
        return [self.step(*each) for each in zip(chunks, states, strict=True)]


@dataclass
class Rivals:
    """Sessions that want the same worker, which computes nothing before the gate opens."""

    bench: Bench
    engine: GatedEncoder
    now: list[float]
    channels: dict[str, Channel] = field(default_factory=dict)

    async def send(self, name: str, seq: int, left_s: float | None) -> None:
        """Send a chunk, and wait until it stands in the worker's line."""
        before = self.num_seen
        stamp = Stamp(SessionId(name), 0, seq, 1, seq * 23_040, left_s)
        await self.channels[name].send(replace(audio(seq), stamp=stamp))
        async with asyncio.timeout(30):
            while self.num_seen == before:  # noqa: ASYNC110  # another thread computes
                await asyncio.sleep(0.001)

    @property
    def num_seen(self) -> int:
        return len(self.engine.taken) + self.bench.stage.compute.num_waiting

    async def finished(self) -> list[str]:
        """Open the gate; returns whose chunks were computed, in order."""
        self.engine.gate.set()
        for channel in self.channels.values():
            await self.bench.finished(channel)
        return [session for session, _ in self.engine.taken]


@asynccontextmanager
async def rivals(
    *names: str, engine: GatedEncoder | None = None, max_batch: int = 1
) -> AsyncIterator[Rivals]:
    engine, now = engine or GatedEncoder(), [100.0]
    async with bench(lambda: engine, slots=8, clock=lambda: now[0], max_batch=max_batch) as b:
        r = Rivals(b, engine, now)
        try:
            for name in ("first", *names):  # opened before the gate holds everybody up
                r.channels[name] = await b.open(session=SessionId(name))
            await r.send("first", 0, 0.0)
            assert await asyncio.to_thread(engine.reached.wait, 30)
            yield r
        finally:
            engine.gate.set()


async def test_of_live_sessions_the_chunk_with_the_least_time_left_is_computed_first() -> None:
    async with rivals("a", "b", "c") as r:
        await r.send("a", 0, 2.0)
        await r.send("b", 0, 0.1)
        await r.send("c", 0, 4.0)
        assert await r.finished() == ["first", "b", "a", "c"]


async def test_a_render_waits_for_live_chunks_but_not_for_ever() -> None:
    async with rivals("render", "soon", "later") as r:
        await r.send("render", 0, None)
        r.now[0] += 0.75 * LAX_S
        await r.send("soon", 0, 0.0)
        await r.send("later", 0, LAX_S)
        assert await r.finished() == ["first", "soon", "render", "later"]


async def test_a_late_session_does_not_go_before_one_that_is_late_as_well() -> None:
    async with rivals("a", "b") as r:
        await r.send("a", 0, 0.0)
        r.now[0] += 1.0
        await r.send("b", 0, 0.0)
        assert await r.finished() == ["first", "a", "b"]


async def test_what_is_left_of_a_chunks_time_goes_on_with_it_less_what_was_spent() -> None:
    async with rivals("live", "late", "render") as r:
        await r.send("live", 0, 5.0)
        await r.send("late", 0, 1.0)
        await r.send("render", 0, None)
        r.now[0] += 2.0
        await r.finished()
        left = {str(chunk.stamp.session): chunk.stamp.left_s for chunk in r.bench.received}
    assert left["live"] == pytest.approx(3.0, abs=0.5)
    assert left["late"] == 0.0
    assert left["render"] is None


async def test_chunks_that_wait_are_computed_together_the_earliest_deadlines_first() -> None:
    engine = BatchEncoder()
    async with rivals("a", "b", "c", engine=engine, max_batch=2) as r:
        for name, left_s in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
            await r.send(name, 0, left_s)
        await r.finished()
        assert engine.batches == [["b", "c"]]
        assert sorted(str(chunk.stamp.session) for chunk in r.bench.received) == [
            "a", "b", "c", "first",
        ]  # fmt: skip


async def test_an_engine_that_makes_one_at_a_time_is_asked_for_one_at_a_time() -> None:
    async with rivals("a", "b", max_batch=4) as r:
        await r.send("a", 0, 1.0)
        await r.send("b", 0, 2.0)
        assert await r.finished() == ["first", "a", "b"]
