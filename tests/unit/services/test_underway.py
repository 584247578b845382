"""Results that a device is still making: handed on at once, never more than one call ahead."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from avatar import wire
from avatar.bus.memory import MemoryBus
from avatar.errors import Unavailable
from avatar.media import (
    AudioEmbedding,
    Chunk,
    LatentChunk,
    SessionId,
    Stamp,
    WorkerId,
    landed,
    settle,
    underway,
)
from avatar.transport import Channel, Hop, Inbound, OpenRequest
from avatar.transport.memory import MemoryNetwork, MemoryTransport
from services.compute import Batch, ComputeThread, Finish
from services.precedence import Due
from services.stage import SCORE_WORKER, Stage
from tests.fakes.underway import AsyncPainter, Making, makings

pytestmark = pytest.mark.unit

SESSION = SessionId("session-1")
STAMP = Stamp(SESSION, epoch=0, seq=3, fence=1, pts=0)
PATIENCE_S = 30


def embedding(seq: int) -> AudioEmbedding:
    tokens = np.zeros((1, 1, 1), np.float32)
    return AudioEmbedding(Stamp(SESSION, 0, seq, 1, 0), tokens, tokens)


@asynccontextmanager
async def painting(
    made: Sequence[Making], bus: MemoryBus
) -> AsyncIterator[tuple[Channel, "asyncio.Queue[Chunk]"]]:
    """A score stage's edge, and what whoever comes after the stage gets, in the same process."""
    network, received = MemoryNetwork(), asyncio.Queue[Chunk]()
    stage = Stage(
        SCORE_WORKER,
        AsyncPainter(made),
        bus,
        MemoryTransport(network),
        WorkerId("score_worker-1"),
        slots=1,
    )

    async def take(inbound: Inbound) -> None:
        while (chunk := await inbound.receive()) is not None:
            received.put_nowait(chunk)

    sender, receiver = MemoryTransport(network), MemoryTransport(network)
    info, end = await stage.start(), await receiver.listen(take)
    lease = await bus.acquire(SESSION, info)
    assert lease is not None
    hop = Hop("vae_decoder", end, fence=1)
    request = OpenRequest(SESSION, lease.fence, "mira", seed=5, route=(hop,))
    channel = await sender.connect(info.address, request)
    try:
        yield channel, received
    finally:
        for each in made:
            each.finish()
        await sender.close()
        await receiver.close()
        await stage.close()


async def test_latents_are_handed_on_while_the_device_still_makes_them() -> None:
    made, bus = makings(2), MemoryBus()
    async with painting(made, bus) as (channel, received), asyncio.timeout(PATIENCE_S):
        for seq in range(2):
            await channel.send(embedding(seq))
            chunk = await received.get()
            assert underway(chunk) is made[seq]  # and nothing has landed
        for each in made:
            each.finish()
        await channel.finish()
        assert await channel.receive() is None
        written = [entry.payload for entry in await bus.replay(SESSION, "score_worker")]
    chunks = [wire.decode(content) for content in written]
    assert [chunk.latents.max() for chunk in chunks if isinstance(chunk, LatentChunk)] == [0, 1]


async def test_a_device_is_asked_for_one_call_more_and_no_further() -> None:
    made, thread = makings(3), ComputeThread("test")
    batch: Batch[int, Making] = Batch(lambda items: [made[i] for i in items], 1, finish_of)
    try:
        async with asyncio.timeout(PATIENCE_S):
            first, second, third = (thread.join(Due(i), batch, i) for i in range(3))
            assert [await first, await second] == made[:2]
            assert await asyncio.to_thread(made[0].waiting.wait, PATIENCE_S)  # the thread does
            assert not third.done()
            assert batch.takes_s(1) == 0  # nobody knows yet
            made[0].finish()
            assert await third is made[2]
            assert batch.takes_s(1) == made[0].seconds  # as the device says, not the call
    finally:
        for each in made:
            each.finish()
        await asyncio.to_thread(thread.close)


async def test_a_device_that_fails_takes_the_thread_with_it_for_nobody_else() -> None:
    made, thread = makings(2), ComputeThread("test")
    made[0].fail = RuntimeError("out of order")
    for each in made:
        each.finish()
    batch: Batch[int, Making] = Batch(lambda items: [made[i] for i in items], 1, finish_of)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for number in (0, 1, 1):
                assert await thread.join(Due(0.0), batch, number) is made[number]
    finally:
        await asyncio.to_thread(thread.close)


def finish_of(results: Sequence[Making]) -> Finish:
    return results[0].took_s


async def test_what_has_landed_is_an_array() -> None:
    [making] = makings(1)
    making.finish()
    chunk = await landed(LatentChunk(STAMP, making, last=True))
    assert chunk.given is making.array
    assert (chunk.stamp, chunk.last, underway(chunk)) == (STAMP, True, None)
    assert await landed(chunk) is chunk


async def test_who_times_a_chunk_waits_for_it() -> None:
    [making] = makings(1)
    settling = asyncio.create_task(asyncio.to_thread(settle, LatentChunk(STAMP, making)))
    assert await asyncio.to_thread(making.waiting.wait, PATIENCE_S)
    assert not settling.done()
    making.finish()
    await asyncio.wait_for(settling, PATIENCE_S)
    settle(embedding(0))  # nothing of it was ever on a device


async def test_what_a_device_failed_at_says_so() -> None:
    [making] = makings(1)
    making.fail = RuntimeError("an illegal address")
    making.finish()
    with pytest.raises(Unavailable, match="failed at chunk 3: an illegal address"):
        await landed(LatentChunk(STAMP, making))
