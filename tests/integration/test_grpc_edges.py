"""What only a network does to an edge: foreign peers, killed processes, taken ports."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_status import rpc_status

from avatar import errors, wire
from avatar.media import LatentChunk, SessionId, Stamp
from avatar.transport import MAX_CREDIT, Inbound, OpenRequest
from avatar.transport import grpc as grpc_transport
from avatar.transport.grpc import GrpcTransport
from avatar.transport.status import error_of
from talkingmachines_api.v1 import media_pb2, stage_pb2

pytestmark = pytest.mark.integration

REQUEST = OpenRequest(SessionId("s1"), fence=1, avatar="ada", seed=0)
OPEN = stage_pb2.AttachRequest(open=stage_pb2.Open(session_id="s1"))
CHUNK = LatentChunk(Stamp(SessionId("s1"), 0, 0, 1, 0), np.zeros((1, 2, 3, 4), np.float32))
ATTACH = "/talkingmachines_api.v1.StageService/Attach"

LISTENER = """
import asyncio
from avatar.transport.grpc import GrpcTransport

async def handler(inbound):
    while await inbound.receive():
        pass

async def main():
    transport = GrpcTransport()
    print(await transport.listen(handler), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

SENDER = """
import asyncio, sys
from avatar.transport import OpenRequest
from avatar.transport.grpc import GrpcTransport

async def main():
    transport = GrpcTransport()
    channel = await transport.connect(sys.argv[1], OpenRequest("s1", 1, "ada", 0))
    print("connected", flush=True)
    await channel.receive()

asyncio.run(main())
"""


@pytest.fixture
async def transport() -> AsyncIterator[GrpcTransport]:
    made = GrpcTransport(stage="vae_decoder")
    yield made
    await made.close()


async def within(awaitable: Awaitable[Any], seconds: float = 20.0) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


@asynccontextmanager
async def python(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def raw_call(address: str, *messages: bytes) -> AsyncIterator[Any]:
    """A peer that is not ours: it has said `messages` and is still there."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(ATTACH)()  # type: ignore[call-arg]  # it is optional
        for message in messages:
            await call.write(message)
        yield call
        call.cancel()


async def answer_of(call: Any) -> grpc.aio.AioRpcError:
    """How the call ends; half-closes it when asked to, as a peer should."""
    try:
        async for content in call:
            if stage_pb2.AttachResponse.FromString(content).WhichOneof("message") == "finish":
                await call.done_writing()
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call ended without an error")


def error_in(answer: grpc.aio.AioRpcError) -> errors.AvatarError | None:
    status = rpc_status.from_call(answer)  # type: ignore[arg-type]  # it has all that is asked
    return error_of(status) if status else None


def watched() -> tuple[
    Callable[[Inbound], Awaitable[None]], "asyncio.Future[BaseException | None]"
]:
    """A handler that reads to the end, and how it ended."""
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def handler(inbound: Inbound) -> None:
        try:
            while await inbound.receive():
                pass
        except BaseException as error:
            ended.set_result(error)
            raise
        ended.set_result(None)

    return handler, ended


async def test_a_killed_receiver_closes_the_channel(transport: GrpcTransport) -> None:
    async with python(LISTENER) as process:
        assert process.stdout is not None
        address = (await within(process.stdout.readline())).decode().strip()
        channel = await within(transport.connect(address, REQUEST))
        await within(channel.send(CHUNK))
        process.kill()
        with pytest.raises(errors.ChannelClosed, match=address):
            await within(channel.receive())
        with pytest.raises(errors.ChannelClosed):
            await channel.send(CHUNK)
        with pytest.raises(errors.Unavailable):
            await within(transport.connect(address, REQUEST))


async def test_a_killed_sender_is_gone_for_the_handler(transport: GrpcTransport) -> None:
    handler, ended = watched()
    address = await transport.listen(handler)
    async with python(SENDER, address) as process:
        assert process.stdout is not None
        assert await within(process.stdout.readline()) == b"connected\n"
        process.kill()
        assert isinstance(await within(ended), errors.ChannelClosed)


async def test_a_taken_port_is_refused_not_shared(transport: GrpcTransport) -> None:
    handler, _ = watched()
    port = int((await transport.listen(handler)).rpartition(":")[2])
    other = GrpcTransport(port=port)
    with pytest.raises(errors.Unavailable, match=str(port)):
        await other.listen(handler)
    await other.close()


async def test_probe_tells_stage_and_sessions(transport: GrpcTransport) -> None:
    handler, _ = watched()
    address = await transport.listen(handler)
    assert await transport.probe(address) == ("vae_decoder", 0)
    channel = await transport.connect(address, REQUEST)
    assert await transport.probe(address) == ("vae_decoder", 1)
    await channel.close()
    await transport.close()
    with pytest.raises(errors.Unavailable, match=address):
        await transport.probe(address)


@pytest.mark.parametrize(
    "first",
    [
        b"\xff\xff\xff",
        stage_pb2.AttachRequest().SerializeToString(),
        stage_pb2.AttachRequest(chunk=wire.chunk_to_proto(CHUNK)).SerializeToString(),
        stage_pb2.AttachRequest(open=stage_pb2.Open(session_id="a b")).SerializeToString(),
        stage_pb2.AttachRequest(
            open=stage_pb2.Open(session_id="s", route=[stage_pb2.Hop(stage="gateway")] * 9)
        ).SerializeToString(),
        stage_pb2.AttachRequest(
            open=stage_pb2.Open(session_id="s", route=[stage_pb2.Hop(stage="oven")])
        ).SerializeToString(),
        stage_pb2.AttachRequest(
            open=stage_pb2.Open(session_id="s", options={str(n): "" for n in range(33)})
        ).SerializeToString(),
        stage_pb2.AttachRequest(
            open=stage_pb2.Open(session_id="s", avatar_id="a" * 1001)
        ).SerializeToString(),
    ],
    ids=["bytes", "empty", "chunk", "session", "hops", "stage", "options", "name"],
)
async def test_an_edge_must_begin_with_a_sound_open(transport: GrpcTransport, first: bytes) -> None:
    handler, ended = watched()
    async with raw_call(await transport.listen(handler), first) as call:
        answer = await within(answer_of(call))
    assert answer.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error_in(answer), errors.InvalidInput)
    assert not ended.done()


@pytest.mark.parametrize(
    "said",
    [
        [b"\xff\xff\xff"],
        [OPEN.SerializeToString()],
        [stage_pb2.AttachRequest(credit=stage_pb2.Credit(chunks=1)).SerializeToString()],
        [stage_pb2.AttachRequest(chunk=media_pb2.Chunk(last=True)).SerializeToString()],
        [stage_pb2.AttachRequest(chunk=wire.chunk_to_proto(CHUNK)).SerializeToString()]
        * (MAX_CREDIT + 1),
    ],
    ids=["bytes", "open again", "credit for nothing", "malformed chunk", "more than credit"],
)
async def test_who_breaks_the_rules_is_told_and_the_handler_freed(
    transport: GrpcTransport, said: list[bytes]
) -> None:
    inbounds: asyncio.Queue[Inbound] = asyncio.Queue()
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    may_read = asyncio.Event()

    async def handler(inbound: Inbound) -> None:
        await inbounds.put(inbound)
        await may_read.wait()
        try:
            while await inbound.receive():
                pass
        except BaseException as error:
            ended.set_result(error)
            raise

    async with raw_call(await transport.listen(handler), OPEN.SerializeToString(), *said) as call:
        answer = await within(answer_of(call))
    assert answer.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error_in(answer), errors.InvalidInput)
    may_read.set()
    assert isinstance(await within(ended), errors.ChannelClosed)


async def test_a_sender_that_half_closes_without_finish_has_gone(transport: GrpcTransport) -> None:
    handler, ended = watched()
    async with raw_call(await transport.listen(handler), OPEN.SerializeToString()) as call:
        await call.done_writing()
        answer = await within(answer_of(call))
        assert isinstance(await within(ended), errors.ChannelClosed)
    assert isinstance(error_in(answer), errors.ChannelClosed)


async def test_a_sender_that_finishes_and_half_closes_is_served(transport: GrpcTransport) -> None:
    handler, ended = watched()
    finish = stage_pb2.AttachRequest(finish=stage_pb2.Finish()).SerializeToString()
    async with raw_call(await transport.listen(handler), OPEN.SerializeToString(), finish) as call:
        await call.done_writing()
        assert await within(ended) is None
        said = [stage_pb2.AttachResponse.FromString(content) async for content in call]
        assert [message.WhichOneof("message") for message in said] == ["opened", "finish"]
        assert await within(call.code()) is grpc.StatusCode.OK


async def test_a_tensor_over_the_cap_never_leaves(transport: GrpcTransport) -> None:
    handler, ended = watched()
    channel = await transport.connect(await transport.listen(handler), REQUEST)
    too_many = wire.MAX_TENSOR_BYTES // 4 + 1
    huge = LatentChunk(CHUNK.stamp, np.zeros((1, 1, 1, too_many), np.float32))
    for _ in range(MAX_CREDIT + 1):  # nor does it use up credit
        with pytest.raises(errors.TooLarge, match=str(4 * too_many)):
            await within(channel.send(huge))
    await channel.finish()
    assert await within(ended) is None


async def test_the_largest_chunk_arrives(transport: GrpcTransport) -> None:
    received: asyncio.Queue[Any] = asyncio.Queue()

    async def handler(inbound: Inbound) -> None:
        await received.put(await inbound.receive())

    channel = await transport.connect(await transport.listen(handler), REQUEST)
    shape = (1, 1, 1, wire.MAX_TENSOR_BYTES // 4)
    await channel.send(LatentChunk(CHUNK.stamp, np.ones(shape, np.float32)))
    assert (await within(received.get())).latents.shape == shape


async def test_something_else_that_listens_is_unavailable(transport: GrpcTransport) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with pytest.raises(errors.Unavailable, match="UNIMPLEMENTED"):
        await within(transport.connect(f"127.0.0.1:{port}", REQUEST))
    await server.stop(None)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets by /proc")
@pytest.mark.parametrize("how", ["closed", "finished", "failed"])
async def test_an_edge_that_is_over_leaves_no_socket(transport: GrpcTransport, how: str) -> None:
    """Without the help of the garbage collector: a cycle would hold the connection until then."""

    async def handler(inbound: Inbound) -> None:
        while chunk := await inbound.receive():
            await inbound.send(chunk)
        if how == "failed":
            raise errors.NoSpeech("nobody speaks")

    async def one_edge() -> None:
        channel = await transport.connect(address, REQUEST)
        await channel.send(CHUNK)
        await channel.receive()
        if how != "closed":
            await channel.finish()
            with suppress(errors.NoSpeech):
                await channel.receive()
        await channel.close()

    address = await transport.listen(handler)
    await within(one_edge())
    gc.collect()
    gc.disable()
    try:
        num_files = open_files()
        for _ in range(10):
            await within(one_edge())
        async with asyncio.timeout(5):
            while open_files() > num_files:  # noqa: ASYNC110
                await asyncio.sleep(0)  # the kernel tells nobody when the other end is closed
    finally:
        gc.enable()


async def test_a_quiet_edge_outlives_its_own_keepalives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller without a microphone says nothing for minutes; gRPC closes on too many pings."""
    quick = {
        "grpc.keepalive_time_ms": 100,
        "grpc.http2.min_ping_interval_without_data_ms": 50,
    }
    options = tuple((name, quick.get(name, value)) for name, value in grpc_transport.OPTIONS)
    assert set(quick) <= {name for name, _ in options}
    monkeypatch.setattr(grpc_transport, "OPTIONS", options)
    listener, opener = GrpcTransport(), GrpcTransport()

    async def handle(inbound: Inbound) -> None:
        while await inbound.receive() is not None:
            pass

    try:
        address = await listener.listen(handle)
        channel = await opener.connect(address, REQUEST)
        with pytest.raises(TimeoutError):  # with the pings refused it ends within 1.5 s
            await asyncio.wait_for(channel.receive(), 2.5)
    finally:
        await opener.close()
        await listener.close()
