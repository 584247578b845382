"""An avatar that is being made, for programs with asyncio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc

from talkingmachines._avatar_wire import progress_of
from talkingmachines._avatars import Progress
from talkingmachines._cancelled import is_being_cancelled
from talkingmachines._connection import Metadata
from talkingmachines._errors import ConnectionLost
from talkingmachines._watching import Watching, finished
from talkingmachines_api.v1 import avatar_pb2, avatar_pb2_grpc


@dataclass(frozen=True)
class AsyncOperationCalls:
    """Calls a server about operations."""

    server: str
    metadata: Metadata
    stub: "Callable[[], avatar_pb2_grpc.AvatarServiceAsyncStub]"
    get: Callable[[avatar_pb2.GetOperationRequest], Awaitable[avatar_pb2.GetOperationResponse]]
    cancel: Callable[
        [avatar_pb2.CancelOperationRequest], Awaitable[avatar_pb2.CancelOperationResponse]
    ]


class AsyncOperation:
    """An avatar that is being made on the server, or was.

        operation = await client.create_avatar("nova.toml")
        await operation.wait(on_progress=lambda now: print(now.stage))

    The work goes on without this object, and without its client; `cancel` stops it. For operators.
    """

    def __init__(self, calls: AsyncOperationCalls, id: str) -> None:
        self._calls = calls
        self._id = id

    @property
    def id(self) -> str:
        """What `Client.operation` finds it by."""
        return self._id

    async def progress(self) -> Progress:
        """How far it is now.

        Raises:
            NotFound: The server does not know it, or no longer.
        """
        request = avatar_pb2.GetOperationRequest(operation_id=self._id)
        return progress_of((await self._calls.get(request)).operation)

    def watch(self) -> AsyncIterator[Progress]:
        """How far it is, whenever that changes, until it is over.

        A lost connection is made anew; a server that does not answer for 30 s ends it.

        Raises:
            Unavailable: The server does not answer any more.
            NotFound: The server does not know it, or no longer.
        """
        return _watched(self._calls, self._id, Watching(self._calls.server))

    async def wait(
        self,
        timeout_s: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Progress:
        """Returns when the avatar can be called.

        Args:
            timeout_s: How long to wait; None for as long as it takes. It is made all the same.
            on_progress: Called with every step.

        Raises:
            DeadlineExceeded: It is not made in that time.
            OperationCancelled: Somebody stopped it.
            TalkError: It came to nothing: by its reason; or as `watch` does.
        """
        last: Progress | None = None
        async for last in _watched(self._calls, self._id, Watching(self._calls.server, timeout_s)):
            if on_progress is not None:
                on_progress(last)
        return finished(last)

    async def cancel(self) -> Progress:
        """Stops it. What is done is kept: `create_avatar` with the same goes on from there.

        One that is over stays as it is.
        """
        request = avatar_pb2.CancelOperationRequest(operation_id=self._id)
        return progress_of((await self._calls.cancel(request)).operation)


async def _watched(
    calls: AsyncOperationCalls, id: str, watching: Watching
) -> AsyncIterator[Progress]:
    request = avatar_pb2.WatchOperationRequest(operation_id=id)
    while not watching.is_over:
        call = calls.stub().WatchOperation(
            request, timeout=watching.stream_s(), metadata=calls.metadata
        )
        failure: grpc.RpcError | None = None
        try:
            async for message in call:
                if (progress := watching.read(message)) is not None:
                    yield progress
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise ConnectionLost("The client was closed before the avatar was made.") from None
        except grpc.RpcError as error:
            failure = error
        finally:
            call.cancel()  # without effect on a call that has ended
        if not watching.is_over:
            await asyncio.sleep(watching.delay_s(failure))
