"""The receiving side of edges over gRPC: StageService, as every replica serves it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from avatar.errors import AvatarError, ChannelClosed, InvalidInput
from avatar.media import StageName
from avatar.transport import Handler
from avatar.transport.edge import InboundEnd, serve
from avatar.transport.messages import from_request, open_from_proto, to_response
from avatar.transport.status import status_of
from talkingmachines_api.v1 import stage_pb2, stage_pb2_grpc

AnyContext = grpc.aio.ServicerContext[Any, Any]

FAREWELL_S = 1.0
"""How long a sender may take to stop writing before its call is ended all the same."""


@dataclass(frozen=True)
class Over:
    """Nothing more goes to the sender but the status: OK when `reason` is None."""

    reason: AvatarError | None


Outbox = asyncio.Queue[stage_pb2.AttachResponse | Over]


class StageServicer(stage_pb2_grpc.StageServiceServicer):
    """Runs `handler` for each edge; a handler outlives its call until it notices the loss."""

    def __init__(self, stage: StageName, handler: Handler) -> None:
        self._stage = stage
        self._handler = handler
        self._handling: set[asyncio.Task[AvatarError | None]] = set()

    async def Attach(  # noqa: N802  # the name is the proto's
        self, request_iterator: AsyncIterator[stage_pb2.AttachRequest], context: AnyContext
    ) -> AsyncIterator[stage_pb2.AttachResponse]:
        requests = aiter(request_iterator)
        try:
            request = open_from_proto(await anext(requests, stage_pb2.AttachRequest()))
        except (InvalidInput, DecodeError) as error:
            await _abort(context, _as_invalid(error))
        outbox = Outbox()
        inbound = InboundEnd(
            request,
            post=lambda message: outbox.put_nowait(to_response(message)),
            accept=lambda: outbox.put_nowait(stage_pb2.AttachResponse(opened=stage_pb2.Opened())),
        )
        self._start(inbound, outbox)
        reading = asyncio.create_task(_read(requests, inbound, outbox))
        try:
            while isinstance(item := await outbox.get(), stage_pb2.AttachResponse):
                yield item
            # A status that meets a write of the sender on its way is lost inside gRPC ("Internal
            # error from Core"): so ask the sender to stop writing, and wait until it has.
            yield stage_pb2.AttachResponse(finish=stage_pb2.Finish())
            await asyncio.wait({reading}, timeout=FAREWELL_S)
        finally:  # gRPC cancels us here when the sender hangs up or vanishes
            inbound.lose(ChannelClosed("the sender has gone"))
            reading.cancel()
            await asyncio.wait({reading})
        if item.reason is not None:
            await _abort(context, item.reason)

    async def Probe(  # noqa: N802  # the name is the proto's
        self, request: stage_pb2.ProbeRequest, context: AnyContext
    ) -> stage_pb2.ProbeResponse:
        return stage_pb2.ProbeResponse(stage=self._stage, sessions=len(self._handling))

    async def close(self) -> None:
        """End every handler that still runs."""
        handling = list(self._handling)
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)

    def _start(self, inbound: InboundEnd, outbox: Outbox) -> None:
        def ended(task: asyncio.Task[AvatarError | None]) -> None:
            self._handling.discard(task)
            gone = ChannelClosed("the receiver has gone")
            outbox.put_nowait(Over(gone if task.cancelled() else task.result()))

        task = asyncio.create_task(serve(self._handler, inbound))
        self._handling.add(task)
        task.add_done_callback(ended)


async def _read(
    requests: AsyncIterator[stage_pb2.AttachRequest], inbound: InboundEnd, outbox: Outbox
) -> None:
    """Take in what the sender says, until it says no more or what it must not."""
    try:
        async for message in requests:
            inbound.arrive(from_request(message))
    except (InvalidInput, DecodeError) as error:
        inbound.lose(ChannelClosed(f"the sender broke the rules of the edge: {error}"))
        outbox.put_nowait(Over(_as_invalid(error)))
        async for _ in requests:
            pass  # unread, until the sender has stopped
    else:
        inbound.lose(ChannelClosed("the sender has gone"))


async def _abort(context: AnyContext, error: AvatarError) -> NoReturn:
    status = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


def _as_invalid(error: InvalidInput | DecodeError) -> InvalidInput:
    return error if isinstance(error, InvalidInput) else InvalidInput(f"malformed message: {error}")
