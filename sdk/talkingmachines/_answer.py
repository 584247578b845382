"""An answer as it comes in, for programs without asyncio."""

import os
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

import grpc

from talkingmachines._events import Event, SavedAnswer
from talkingmachines._exchange import Exchange
from talkingmachines._files import WholeFile
from talkingmachines._recording import Recording
from talkingmachines_api.v1 import talk_pb2


class Response(Protocol):
    """SayResponse or AskResponse."""

    @property
    def event(self) -> talk_pb2.TalkEvent: ...


class Call(Protocol):
    """A running gRPC call."""

    def __iter__(self) -> Iterator[Response]: ...
    def cancel(self) -> object: ...


class Answer(Iterator[Event]):
    """The steps of one answer, in the order in which they happen; the last is its Summary.

    The request is sent when the first step is asked for. Leaving it early, by `close()`, by the
    end of its `with` block or by dropping it, cancels the work on the server.
    Iterating raises the errors of `talkingmachines.TalkError`.
    """

    def __init__(self, begin: Callable[[], Call], exchange: Exchange) -> None:
        self._switch = _Switch()
        self._steps = _steps(begin, exchange, self._switch)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._switch.closed.is_set():
            raise StopIteration
        return next(self._steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the answer, also from another thread; a second time does nothing."""
        self._switch.close()

    def save(
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
        with self, WholeFile(path) as file:
            recording = Recording(file)
            for event in self:
                recording.add(event)
                if on_event is not None:
                    on_event(event)
            return recording.commit()


class _Switch:
    """Ends a call from outside of the loop that reads it."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.call: Call | None = None

    def close(self) -> None:
        self.closed.set()
        if self.call is not None:
            self.call.cancel()


# No method of Answer: a generator that held its answer would keep a dropped one alive.
def _steps(begin: Callable[[], Call], exchange: Exchange, switch: _Switch) -> Iterator[Event]:
    delay_s = 0.0
    while not switch.closed.wait(delay_s):
        call = switch.call = begin()
        try:
            if switch.closed.is_set():  # while the call began
                return
            for response in call:
                if (event := exchange.read(response.event)) is not None:
                    yield event
            exchange.check_complete()
            return
        except grpc.RpcError as error:
            if switch.closed.is_set():
                return
            delay_s = exchange.delay_before_retry_s(error)
        finally:
            call.cancel()  # without effect on a call that has ended
