"""Chunks that a device is still making leave the process in their turn, once they are there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from avatar.errors import TooLarge, Unavailable
from avatar.media import Chunk, LatentChunk, SessionId, Stamp, on_host
from avatar.transport import Channel, Inbound, OpenRequest
from avatar.transport.grpc import GrpcTransport
from avatar.wire import MAX_TENSOR_BYTES
from tests.fakes.underway import Making, makings

pytestmark = pytest.mark.integration

REQUEST = OpenRequest(SessionId("s1"), fence=1, avatar="ada", seed=0)


def chunk(seq: int, given: Making, left_s: float | None = None) -> LatentChunk:
    return LatentChunk(Stamp(SessionId("s1"), 0, seq, 1, 0, left_s), given)


@asynccontextmanager
async def edge() -> AsyncIterator[tuple[Channel, "asyncio.Queue[Chunk]"]]:
    transport, received = GrpcTransport(), asyncio.Queue[Chunk]()

    async def take(inbound: Inbound) -> None:
        while (each := await inbound.receive()) is not None:
            received.put_nowait(each)

    async with asyncio.timeout(30):
        try:
            yield await transport.connect(await transport.listen(take), REQUEST), received
        finally:
            await transport.close()


async def test_they_are_sent_when_they_have_landed_and_in_order() -> None:
    first, second = makings(2)
    async with edge() as (channel, received):
        await channel.send(chunk(0, first, left_s=60.0))  # returns: the sender goes on
        await channel.send(chunk(1, second))
        second.finish()
        assert await asyncio.to_thread(first.waiting.wait, 30)
        assert received.empty()
        first.finish()
        for seq, making in enumerate((first, second)):
            arrived = await received.get()
            assert isinstance(arrived, LatentChunk)
            assert arrived.stamp.seq == seq
            assert np.array_equal(on_host(arrived.given), making.array)
            if seq == 0:  # some of its time was spent until it left
                assert arrived.stamp.left_s is not None
                assert 0.0 < arrived.stamp.left_s < 60.0


@pytest.mark.parametrize("is_large", [False, True])
async def test_one_that_cannot_be_sent_ends_the_edge_and_says_why(is_large: bool) -> None:
    [making] = makings(1)
    making.finish()
    if is_large:
        making.array = np.zeros((1, 1, 1, MAX_TENSOR_BYTES // 4 + 1), np.float32)
    else:
        making.fail = RuntimeError("an illegal address")
    async with edge() as (channel, _):
        await channel.send(chunk(0, making))
        with pytest.raises(TooLarge if is_large else Unavailable):
            await channel.receive()
