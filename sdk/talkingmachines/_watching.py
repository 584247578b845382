"""How long to look at an operation, decided for the twins alike, without input or output."""

import time
from collections.abc import Callable
from typing import Final

import grpc

from talkingmachines._avatar_wire import progress_of
from talkingmachines._avatars import Progress
from talkingmachines._errors import (
    ConnectionLost,
    DeadlineExceeded,
    OperationCancelled,
    TalkError,
    Unavailable,
)
from talkingmachines._status import CallContext, error_of, error_told
from talkingmachines_api.v1 import avatar_pb2

STREAM_S: Final = 60.0
"""Then it is asked anew: a connection that hangs tells nothing either."""
PATIENCE_S: Final = 30.0
"""With a server that does not answer."""
_RETRY_S: Final = 0.5


class Watching:
    """Reads the states of one operation, and judges the faults on the way.

    An avatar takes minutes or hours, longer than many a connection lives: the server is asked
    again, and what was told before is told once.
    """

    def __init__(
        self,
        server: str,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._clock = clock
        self._ends_at = None if timeout_s is None else clock() + timeout_s
        self._give_up_at: float | None = None
        self._has_answered = False
        self._last: Progress | None = None

    @property
    def is_over(self) -> bool:
        return self._last is not None and self._last.is_over

    def stream_s(self) -> float:
        """How long the next call may last."""
        self._has_answered = False
        if self._ends_at is None:
            return STREAM_S
        return min(STREAM_S, max(self._ends_at - self._clock(), 0.0))

    def read(self, message: avatar_pb2.WatchOperationResponse) -> Progress | None:
        """What it tells; None where that was told before."""
        self._give_up_at, self._has_answered = None, True
        progress = progress_of(message.operation)
        if progress == self._last:
            return None
        self._last = progress
        return progress

    def delay_s(self, error: grpc.RpcError | None) -> float:
        """How long to wait before it is asked again, after a call ended.

        Raises:
            DeadlineExceeded: The time that was given is up.
            TalkError: What `error` stands for, where asking again does not help.
        """
        if self._ends_at is not None and self._clock() >= self._ends_at:
            raise DeadlineExceeded(
                f"The avatar is not made after {self._timeout_s:g} s, and is still being made:"
                " wait() again, or cancel()."
            ) from error
        fault = self._fault(error)
        if fault is None:
            return 0.0
        is_closed = error is not None and error.code() is grpc.StatusCode.CANCELLED
        if is_closed or not isinstance(fault, Unavailable):
            raise fault from error
        if self._give_up_at is None:
            self._give_up_at = self._clock() + PATIENCE_S
        if self._clock() > self._give_up_at:
            raise fault from error
        return _RETRY_S

    def _fault(self, error: grpc.RpcError | None) -> TalkError | None:
        """None where only the time of one call is up."""
        if error is None:
            return ConnectionLost(f"{self._server} ended the call before the avatar was made.")
        is_time_up = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if is_time_up and self._has_answered:
            return None
        fault = error_of(error, CallContext(self._server, STREAM_S))
        if is_time_up:
            return Unavailable(f"{self._server} does not tell how far the avatar is.")
        return fault


def finished(progress: Progress | None) -> Progress:
    """The last state of an operation that was waited for.

    Raises:
        OperationCancelled: Somebody stopped it.
        TalkError: What became of it, by its reason.
    """
    assert progress is not None
    if progress.state == "cancelled":
        raise OperationCancelled(
            f"The making of {progress.avatar} was cancelled: create_avatar() with the same goes on."
        )
    if progress.state == "failed":
        raise error_told(progress.reason, progress.message)
    return progress
