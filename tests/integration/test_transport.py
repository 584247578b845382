"""One contract for every transport: order, credit, epochs, errors and ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from avatar import errors
from avatar.media import (
    AudioChunk,
    AudioEmbedding,
    Chunk,
    FrameChunk,
    LatentChunk,
    SessionId,
    Stamp,
    TurnEvent,
)
from avatar.transport import MAX_CREDIT, Channel, Hop, Inbound, OpenRequest, Transport
from avatar.transport.grpc import GrpcTransport
from avatar.transport.memory import MemoryNetwork, MemoryTransport

pytestmark = pytest.mark.integration

MakeTransport = Callable[[], Transport]
REQUEST = OpenRequest(SessionId("s1"), fence=3, avatar="ada", seed=7)


@pytest.fixture(params=["memory", "grpc"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[MakeTransport]:
    """Makes transports that can reach each other; afterwards no task of theirs is left."""
    before = asyncio.all_tasks()
    network = MemoryNetwork()
    made: list[Transport] = []

    def make_one() -> Transport:
        made.append(MemoryTransport(network) if request.param == "memory" else GrpcTransport())
        return made[-1]

    yield make_one
    for transport in made:
        await transport.close()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:  # gRPC's own tasks take a turn of the loop more
        _, left = await asyncio.wait(left, timeout=5)
    assert not left


def latents(seq: int, epoch: int = 0) -> LatentChunk:
    stamp = Stamp(SessionId("s1"), epoch, seq, fence=3, pts=seq * 23_040)
    return LatentChunk(stamp, np.full((1, 2, 3, 4), seq, np.float32))


def seq_of(chunk: Chunk | None) -> int | None:
    return chunk.stamp.seq if chunk else None


async def within(awaitable: Awaitable[Any], seconds: float = 10.0) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


async def send_until_refused(end: Channel | Inbound) -> None:
    for seq in range(MAX_CREDIT + 1):
        await end.send(latents(seq))


async def is_waiting(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """True when `coroutine` cannot finish although everything else has had its turn."""
    task = asyncio.create_task(coroutine)
    done, _ = await asyncio.wait({task}, timeout=0.1)
    if done:
        task.result()
        return False
    task.cancel()
    await asyncio.wait({task})
    return True


class Recorder:
    """A handler that collects what it receives until the edge ends."""

    def __init__(self) -> None:
        self.requests: list[OpenRequest] = []
        self.chunks: list[Chunk] = []
        self.ended: asyncio.Future[BaseException | None] = asyncio.Future()

    async def __call__(self, inbound: Inbound) -> None:
        self.requests.append(inbound.request)
        try:
            while (chunk := await inbound.receive()) is not None:
                self.chunks.append(chunk)
        except BaseException as error:
            self.ended.set_result(error)
            raise
        self.ended.set_result(None)


class Gate:
    """A handler that hands its inbound end to the test and waits until it may go."""

    def __init__(self) -> None:
        self.inbound: asyncio.Future[Inbound] = asyncio.Future()
        self.may_end = asyncio.Event()

    async def __call__(self, inbound: Inbound) -> None:
        first = asyncio.create_task(inbound.receive())  # accepts the edge
        await asyncio.sleep(0)
        first.cancel()
        self.inbound.set_result(inbound)
        await self.may_end.wait()


async def test_every_kind_of_chunk_arrives_as_it_was_sent(make: MakeTransport) -> None:
    recorder = Recorder()
    stamp = Stamp(SessionId("s1"), epoch=1, seq=2, fence=3, pts=46_080)
    random = np.random.default_rng(0)
    sent: list[Chunk] = [
        AudioChunk(stamp, random.random(7680, np.float32), 16_000, random.random(5, np.float32)),
        AudioEmbedding(stamp, np.ones((3, 2, 4), np.float32), np.zeros((2, 2, 4), np.float32)),
        LatentChunk(stamp, random.random((3, 4, 5, 6), np.float32), last=True),
        FrameChunk(stamp, random.integers(0, 255, (12, 8, 8, 3), np.uint8)),
        TurnEvent(stamp, "reply", "Größe — naïve 你好"),
    ]
    channel = await make().connect(await make().listen(recorder), REQUEST)
    for chunk in sent:
        await within(channel.send(chunk))
    await channel.finish()
    assert await within(recorder.ended) is None
    assert [type(chunk) for chunk in recorder.chunks] == [type(chunk) for chunk in sent]
    for got, expected in zip(recorder.chunks, sent, strict=True):
        for name, value in vars(expected).items():
            np.testing.assert_array_equal(getattr(got, name), value, err_msg=name)


async def test_the_handler_sees_the_request_whole(make: MakeTransport) -> None:
    recorder = Recorder()
    request = OpenRequest(
        SessionId("a-b_C9"),
        fence=4,
        avatar="ada",
        seed=2**63 + 5,
        epoch=6,
        route=(Hop("vae_decoder", "10.0.0.1:99", 2), Hop("gateway", "memory://9", 1)),
        options={"voice": "low", "größe": "256"},
    )
    channel = await make().connect(await make().listen(recorder), request)
    await channel.finish()
    await within(recorder.ended)
    assert recorder.requests == [request]


async def test_chunks_keep_their_order(make: MakeTransport) -> None:
    recorder = Recorder()
    channel = await make().connect(await make().listen(recorder), REQUEST)
    for seq in range(50):
        await within(channel.send(latents(seq)))
    await channel.finish()
    await within(recorder.ended)
    assert [chunk.stamp.seq for chunk in recorder.chunks] == list(range(50))


async def test_a_sender_without_credit_waits(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    for seq in range(MAX_CREDIT):
        await within(channel.send(latents(seq)))
    assert await is_waiting(channel.send(latents(99)))


async def test_the_next_receive_returns_the_credit_of_the_chunk_before(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    for seq in range(MAX_CREDIT):
        await within(channel.send(latents(seq)))
    await within(inbound.receive())
    assert await is_waiting(channel.send(latents(98)))
    await within(inbound.receive())
    await within(channel.send(latents(MAX_CREDIT)))
    assert await is_waiting(channel.send(latents(99)))


async def test_a_send_given_up_while_waiting_sends_nothing(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    for seq in range(MAX_CREDIT):
        await within(channel.send(latents(seq)))
    assert await is_waiting(channel.send(latents(99)))
    await channel.finish()
    assert [seq_of(await within(inbound.receive())) for _ in range(3)] == [0, 1, None]


async def test_a_receive_given_up_loses_no_chunk(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    assert await is_waiting(inbound.receive())
    await within(channel.send(latents(5)))
    assert seq_of(await within(inbound.receive())) == 5


async def test_an_edge_is_full_duplex_under_the_same_credit(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    for seq in range(MAX_CREDIT):
        await within(inbound.send(latents(seq)))
    assert await is_waiting(inbound.send(latents(99)))
    assert seq_of(await within(channel.receive())) == 0
    assert seq_of(await within(channel.receive())) == 1
    await within(inbound.send(latents(2)))
    assert seq_of(await within(channel.receive())) == 2


async def test_finish_leaves_the_other_direction_open(make: MakeTransport) -> None:
    async def answer(inbound: Inbound) -> None:
        count = 0
        while await inbound.receive() is not None:
            count += 1
        for seq in range(5):
            await inbound.send(latents(100 * count + seq))

    channel = await make().connect(await make().listen(answer), REQUEST)
    await within(channel.send(latents(0)))
    await channel.finish()
    answers = [seq_of(await within(channel.receive())) for _ in range(6)]
    assert answers == [100, 101, 102, 103, 104, None]
    with pytest.raises(ValueError, match="after finish"):
        await channel.send(latents(1))


async def test_a_cancel_raises_the_epoch_and_drops_what_is_unread(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    for seq in range(MAX_CREDIT):
        await within(channel.send(latents(seq, epoch=0)))
    await channel.cancel(1)
    # The stale chunks' credit is back although nobody received them.
    await within(channel.send(latents(7, epoch=1)))
    assert seq_of(await within(inbound.receive())) == 7
    assert inbound.epoch == 1


async def test_a_chunk_announces_its_epoch(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    await within(channel.send(latents(0, epoch=0)))
    await within(channel.send(latents(1, epoch=4)))
    await within(channel.send(latents(2, epoch=3)))
    await within(channel.send(latents(3, epoch=4)))
    await channel.finish()
    received = [seq_of(await within(inbound.receive())) for _ in range(3)]
    assert received == [1, 3, None]
    assert inbound.epoch == 4


async def test_the_epoch_never_falls(make: MakeTransport) -> None:
    gate = Gate()
    request = OpenRequest(SessionId("s1"), fence=1, avatar="ada", seed=0, epoch=5)
    channel = await make().connect(await make().listen(gate), request)
    inbound = await within(gate.inbound)
    assert inbound.epoch == 5
    await channel.cancel(2)
    await within(channel.send(latents(0, epoch=5)))
    assert seq_of(await within(inbound.receive())) == 0
    assert inbound.epoch == 5


async def test_the_one_who_cancels_hears_no_stale_answers(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    await channel.cancel(1)
    for seq in range(MAX_CREDIT + 3):
        await within(inbound.send(latents(seq, epoch=0)))
    await within(inbound.send(latents(9, epoch=1)))
    assert seq_of(await within(channel.receive())) == 9


async def test_an_address_without_listener_is_unavailable(make: MakeTransport) -> None:
    server = make()
    address = await server.listen(Recorder())
    await server.close()
    with pytest.raises(errors.Unavailable, match="nobody listens"):
        await within(make().connect(address, REQUEST))


@pytest.mark.parametrize(
    "refusal",
    [
        errors.Busy("2 of 2 slots taken", retry_after_s=1.25),
        errors.NotFound("no avatar 'ada'; there are bo, cy"),
        errors.CorruptFile("sha256 differs"),
        errors.Fenced("fence 3 given, 4 holds"),
        errors.ModelServerUnreachable("naïve — 你好" * 500),
    ],
    ids=lambda error: error.reason,
)
async def test_a_refusal_comes_out_of_connect(
    make: MakeTransport, refusal: errors.AvatarError
) -> None:
    async def refuse(_: Inbound) -> None:
        raise refusal

    with pytest.raises(type(refusal)) as caught:
        await within(make().connect(await make().listen(refuse), REQUEST))
    assert type(caught.value) is type(refusal)
    assert str(caught.value)[:200] == str(refusal)[:200]
    if isinstance(refusal, errors.Busy):
        assert isinstance(caught.value, errors.Busy)
        assert caught.value.retry_after_s == refusal.retry_after_s


async def test_connect_returns_only_when_the_handler_accepts(make: MakeTransport) -> None:
    may_accept = asyncio.Event()

    async def late(inbound: Inbound) -> None:
        await may_accept.wait()
        await inbound.receive()

    client, address = make(), await make().listen(late)
    assert await is_waiting(client.connect(address, REQUEST))
    may_accept.set()
    await within(client.connect(address, REQUEST))


async def test_a_handler_that_just_returns_has_accepted(make: MakeTransport) -> None:
    async def nothing(_: Inbound) -> None:
        return

    channel = await within(make().connect(await make().listen(nothing), REQUEST))
    assert await within(channel.receive()) is None


async def test_what_the_handler_said_before_its_error_arrives_first(make: MakeTransport) -> None:
    async def fail(inbound: Inbound) -> None:
        await inbound.send(latents(1))
        raise errors.NoSpeech("nobody speaks in 3.0 s")

    channel = await within(make().connect(await make().listen(fail), REQUEST))
    assert seq_of(await within(channel.receive())) == 1
    with pytest.raises(errors.NoSpeech, match=r"3\.0 s"):
        await within(channel.receive())
    with pytest.raises(errors.NoSpeech):
        await within(channel.send(latents(0)))


async def test_an_error_wakes_a_sender_that_waits_for_credit(make: MakeTransport) -> None:
    async def fail(inbound: Inbound) -> None:
        await inbound.receive()
        raise errors.DeadlineExceeded("0.7 s, 0.5 s allowed")

    channel = await make().connect(await make().listen(fail), REQUEST)
    with pytest.raises(errors.DeadlineExceeded):
        await within(send_until_refused(channel))


async def test_a_bug_in_the_handler_is_an_internal_error(
    make: MakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(inbound: Inbound) -> None:
        await inbound.receive()
        raise ZeroDivisionError("secret detail")

    channel = await make().connect(await make().listen(broken), REQUEST)
    await within(channel.send(latents(0)))
    with pytest.raises(errors.AvatarError) as caught:
        await within(channel.receive())
    assert caught.value.reason == "INTERNAL"
    assert "secret" not in str(caught.value)
    assert "handler_failed" in caplog.text


async def test_a_closed_channel_is_gone_for_the_handler(make: MakeTransport) -> None:
    recorder = Recorder()
    channel = await make().connect(await make().listen(recorder), REQUEST)
    await channel.close()
    await channel.close()
    assert isinstance(await within(recorder.ended), errors.ChannelClosed)
    with pytest.raises(errors.ChannelClosed):
        await channel.send(latents(0))
    with pytest.raises(errors.ChannelClosed):
        await channel.receive()


async def test_the_handler_cannot_send_to_a_channel_that_is_closed(make: MakeTransport) -> None:
    gate = Gate()
    channel = await make().connect(await make().listen(gate), REQUEST)
    inbound = await within(gate.inbound)
    await channel.close()
    with pytest.raises(errors.ChannelClosed):
        await within(send_until_refused(inbound))


async def test_closing_the_channel_does_not_interrupt_the_handler(make: MakeTransport) -> None:
    accepted, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def busy(inbound: Inbound) -> None:
        await inbound.send(latents(0))
        accepted.set()
        await may_end.wait()
        ended.set()

    channel = await make().connect(await make().listen(busy), REQUEST)
    await within(accepted.wait())
    await channel.close()
    assert await is_waiting(ended.wait())
    may_end.set()
    await within(ended.wait())


async def test_a_channel_dies_with_the_transport_that_serves_it(make: MakeTransport) -> None:
    server, gate = make(), Gate()
    channel = await make().connect(await server.listen(gate), REQUEST)
    waiting = asyncio.create_task(channel.receive())
    await server.close()
    with pytest.raises(errors.ChannelClosed):
        await within(waiting)
    with pytest.raises(errors.ChannelClosed):
        await channel.send(latents(0))


async def test_a_handler_is_told_when_the_transport_of_its_sender_closes(
    make: MakeTransport,
) -> None:
    client, recorder = make(), Recorder()
    await client.connect(await make().listen(recorder), REQUEST)
    await client.close()
    assert isinstance(await within(recorder.ended), errors.ChannelClosed)


async def test_a_connect_given_up_frees_the_handler(make: MakeTransport) -> None:
    ended: asyncio.Future[BaseException] = asyncio.Future()
    may_accept = asyncio.Event()

    async def slow(inbound: Inbound) -> None:
        await may_accept.wait()
        try:
            await inbound.receive()
        except BaseException as error:
            ended.set_result(error)
            raise

    assert await is_waiting(make().connect(await make().listen(slow), REQUEST))
    may_accept.set()
    assert isinstance(await within(ended), errors.ChannelClosed)


async def test_a_chain_of_edges_refuses_as_one(make: MakeTransport) -> None:
    async def full(_: Inbound) -> None:
        raise errors.Busy("1 of 1 slots taken", retry_after_s=2)

    middle, last = make(), make()
    last_address = await last.listen(full)

    async def forward(inbound: Inbound) -> None:
        await middle.connect(last_address, inbound.request)
        await inbound.receive()

    with pytest.raises(errors.Busy):
        await within(make().connect(await middle.listen(forward), REQUEST))


async def test_two_edges_do_not_share_credit(make: MakeTransport) -> None:
    client, server = make(), make()
    first, second = Gate(), Recorder()
    blocked = await client.connect(await server.listen(first), REQUEST)
    free = await client.connect(await server.listen(second), REQUEST)
    for seq in range(MAX_CREDIT):
        await within(blocked.send(latents(seq)))
    for seq in range(10):
        await within(free.send(latents(seq)))
    await free.finish()
    assert await within(second.ended) is None


async def test_a_closed_transport_opens_nothing(make: MakeTransport) -> None:
    transport = make()
    await transport.close()
    await transport.close()
    with pytest.raises(errors.Unavailable):
        await transport.connect("memory://1", REQUEST)
    with pytest.raises(errors.Unavailable):
        await transport.listen(Recorder())
