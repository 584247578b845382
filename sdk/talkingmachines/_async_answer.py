"""An answer as it comes in, for programs with asyncio."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

import grpc

from talkingmachines._answer import Response
from talkingmachines._cancelled import is_being_cancelled
from talkingmachines._errors import ConnectionLost
from talkingmachines._events import Event, SavedAnswer
from talkingmachines._exchange import Exchange
from talkingmachines._files import WholeFile
from talkingmachines._recording import Recording


class AsyncCall(Protocol):
    """A running gRPC call."""

    def __aiter__(self) -> AsyncIterator[Response]: ...
    def cancel(self) -> object: ...


class AsyncAnswer(AsyncIterator[Event]):
    """The steps of one answer, in the order in which they happen; the last is its Summary.

    The request is sent when the first step is asked for. Leaving it early, by `close()`, by the
    end of its `async with` block or by cancelling the task, cancels the work on the server.
    Iterating raises the errors of `talkingmachines.TalkError`.
    """

    def __init__(self, begin: Callable[[], Awaitable[AsyncCall]], exchange: Exchange) -> None:
        self._switch = _Switch()
        self._steps = _steps(begin, exchange, self._switch)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._switch.closed.is_set():
            raise StopAsyncIteration
        return await anext(self._steps)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the answer, also from another task; a second time does nothing."""
        self._switch.close()

    async def save(
        self, path: str | os.PathLike[str], on_event: Callable[[Event], None] | None = None
    ) -> SavedAnswer:
        """Takes all steps, and writes the video to `path`.

        The file appears under its name when it is whole; on any error nothing is left.

        Args:
            path: Where to write the MP4 file; an existing file is replaced.
            on_event: Called with every step, for progress.

        Raises:
            TalkError: As iterating does.
            OSError: If the file cannot be written.
        """
        async with self:
            with WholeFile(path) as file:
                recording = Recording(file)
                async for event in self:
                    await asyncio.to_thread(recording.add, event)
                    if on_event is not None:
                        on_event(event)
                return await asyncio.to_thread(recording.commit)


class _Switch:
    """Ends a call from outside of the loop that reads it."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.call: AsyncCall | None = None

    def close(self) -> None:
        self.closed.set()
        if self.call is not None:
            self.call.cancel()

    async def closed_within(self, delay_s: float) -> bool:
        try:
            async with asyncio.timeout(delay_s):
                return await self.closed.wait()
        except TimeoutError:
            return False


# No method of AsyncAnswer: a generator that held its answer would keep a dropped one alive.
async def _steps(
    begin: Callable[[], Awaitable[AsyncCall]], exchange: Exchange, switch: _Switch
) -> AsyncIterator[Event]:
    delay_s = 0.0
    while not await switch.closed_within(delay_s):
        call = switch.call = await begin()
        try:
            if switch.closed.is_set():  # while the call began
                return
            async for response in call:
                if (event := exchange.read(response.event)) is not None:
                    yield event
            exchange.check_complete()
            return
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            if switch.closed.is_set():
                return
            raise ConnectionLost("The client was closed before the answer was complete.") from None
        except grpc.RpcError as error:
            if switch.closed.is_set():
                return
            delay_s = exchange.delay_before_retry_s(error)
        finally:
            call.cancel()  # without effect on a call that has ended
