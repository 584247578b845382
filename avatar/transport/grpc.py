"""Edges over gRPC: one bidirectional stream each, from replica to replica."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import grpc
from grpc_status import rpc_status

from avatar import wire
from avatar.errors import AvatarError, ChannelClosed, InvalidInput, Unavailable
from avatar.media import FrameChunk, LatentChunk, StageName, landed, underway
from avatar.transport import Channel, Handler, OpenRequest
from avatar.transport.edge import End, Message
from avatar.transport.messages import from_response, open_to_proto, to_request
from avatar.transport.servicer import StageServicer
from avatar.transport.status import error_of
from talkingmachines_api.v1 import stage_pb2, stage_pb2_grpc

Call = grpc.aio.StreamStreamCall[stage_pb2.AttachRequest, stage_pb2.AttachResponse]

OPTIONS = (
    ("grpc.max_send_message_length", wire.MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", wire.MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # else two servers share a port in silence
    ("grpc.use_local_subchannel_pool", 1),  # else one dead edge's back-off delays the next
    ("grpc.enable_http_proxy", 0),  # edges stay inside; a proxy for the web is not for them
    # Finds a host that vanished without a word; a process that hangs needs a deadline per chunk.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


@dataclass(frozen=True)
class Arriving:
    """A chunk that a device is still making: it is sent when it has landed, in its turn."""

    chunk: LatentChunk | FrameChunk
    since: float = field(default_factory=time.monotonic)

    async def request(self) -> stage_pb2.AttachRequest:
        """Raises AvatarError where the device failed, or the chunk cannot be encoded."""
        there = await landed(self.chunk)
        stamp = there.stamp
        if stamp.left_s is not None:  # of which some has passed since the chunk was handed over
            left_s = max(0.0, stamp.left_s - (time.monotonic() - self.since))
            there = replace(there, stamp=replace(stamp, left_s=left_s))
        return to_request(there)


class GrpcTransport:
    """A `Transport` over gRPC; `listen` serves StageService at host:port, port 0 takes a free one.

    `stage` is what Probe answers. `host` is bound and advertised alike, so give the address at
    which the other replicas reach this one. Keep the transport: gRPC stops a server that nobody
    refers to any more.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, stage: StageName = "gateway"
    ) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._stage = stage
        self._servers: list[tuple[grpc.aio.Server, StageServicer]] = []
        self._channels: set[GrpcChannel] = set()
        self._is_closed = False

    async def listen(self, handler: Handler, /) -> str:
        self._refuse_if_closed()
        server = grpc.aio.server(options=OPTIONS)
        servicer = StageServicer(self._stage, handler)
        stage_pb2_grpc.add_StageServiceServicer_to_server(servicer, server)
        wanted = f"{self._host}:{self._port}"
        try:
            port = server.add_insecure_port(wanted)
        except RuntimeError as error:
            raise Unavailable(f"cannot listen at {wanted}: taken, or no address of ours") from error
        await server.start()
        self._servers.append((server, servicer))
        return f"{self._host}:{port}"

    async def connect(self, address: str, request: OpenRequest, /) -> Channel:
        self._refuse_if_closed()
        channel = GrpcChannel(address, request, self._channels.discard)
        self._channels.add(channel)
        try:
            await channel.open()
        except BaseException:
            await channel.close()
            raise
        return channel

    async def probe(self, address: str, timeout_s: float = 1.0) -> tuple[str, int]:
        """The stage that a replica serves and how many edges are attached to it.

        Raises:
            Unavailable: Nobody answers there in time.
        """
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            try:
                response = await stage_pb2_grpc.StageServiceStub(channel).Probe(
                    stage_pb2.ProbeRequest(), timeout=timeout_s
                )
            except grpc.aio.AioRpcError as error:
                raise Unavailable(f"nobody answers at {address}: {error.details()}") from error
        return response.stage, response.sessions

    async def close(self) -> None:
        self._is_closed = True
        for channel in list(self._channels):
            await channel.close()
        for server, servicer in self._servers:
            await server.stop(None)
            await servicer.close()
        self._servers.clear()

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Unavailable("this transport was closed; make a new one")


class GrpcChannel(End):
    """The sending side; two tasks of its own carry messages until the edge is over."""

    def __init__(
        self, address: str, request: OpenRequest, on_over: Callable[["GrpcChannel"], None]
    ) -> None:
        super().__init__(self._put, request.epoch)
        self._address = address
        self._request = request
        self._on_over = on_over
        self._outbox: asyncio.Queue[stage_pb2.AttachRequest | Arriving | None] = asyncio.Queue()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._carrying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and wait until the handler at the other end accepts.

        Raises:
            AvatarError: Whatever it refused with; Unavailable where nobody listens.
        """
        self._outbox.put_nowait(open_to_proto(self._request))
        self._carrying = asyncio.create_task(self._carry())
        await self._opened

    async def close(self) -> None:
        self.give_up()
        if self._carrying is not None:
            self._carrying.cancel()
            await asyncio.wait({self._carrying})
            # Its CancelledError holds the frames, they the call, and that the connection open.
            self._carrying = None
        self._on_over(self)

    def lose(self, reason: AvatarError | None) -> None:
        super().lose(reason)
        if self._opened.done():
            return
        if reason is None:
            self._opened.set_result(None)  # a handler that returns at once has taken the edge, too
        else:
            self._opened.set_exception(reason)

    def _put(self, message: Message) -> None:
        if isinstance(message, LatentChunk | FrameChunk) and underway(message) is not None:
            self._outbox.put_nowait(Arriving(message))
        else:
            self._outbox.put_nowait(to_request(message))

    async def _carry(self) -> None:
        """Take in what the receiver says, until it says no more."""
        async with grpc.aio.insecure_channel(self._address, options=OPTIONS) as connection:
            stub = stage_pb2_grpc.StageServiceStub(connection)
            call = stub.Attach()  # type: ignore[call-arg]  # the iterator is optional
            writing = asyncio.create_task(self._write(call))
            try:
                async for response in call:
                    self._take_response(response)
                self.lose(None)
            except grpc.aio.AioRpcError as error:
                self.lose(self._reason(error))
            except InvalidInput as error:
                broken = f"{self._address} broke the rules of the edge: {error}"
                self.lose(ChannelClosed(broken))
            finally:
                call.cancel()
                writing.cancel()
                await asyncio.wait({writing})
                self.lose(ChannelClosed("this end of the edge was closed"))
                self._on_over(self)

    async def _write(self, call: Call) -> None:
        try:
            while (item := await self._outbox.get()) is not None:
                await call.write(await item.request() if isinstance(item, Arriving) else item)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call is over; its reader learns why
        except AvatarError as error:
            self.lose(error)
            call.cancel()

    def _take_response(self, response: stage_pb2.AttachResponse | None) -> None:
        if response is None:  # gRPC's way to say that it could not parse the bytes
            raise InvalidInput(f"{self._address} sent bytes that are no AttachResponse")
        match response.WhichOneof("message"):
            case "opened" if not self._opened.done():
                self._opened.set_result(None)
            case "finish":
                # The handler has ended. How, the status says, which waits for our last word.
                self._outbox.put_nowait(None)
            case _:
                self.arrive(from_response(response))

    def _reason(self, error: grpc.aio.AioRpcError) -> AvatarError:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has all that is asked
        known = error_of(status) if status is not None else None
        if known is not None:
            return known
        details = f"{error.code().name}: {error.details()}"
        if self._opened.done():
            return ChannelClosed(f"{self._address} has gone ({details})")
        return Unavailable(f"nobody listens at {self._address} ({details})")
