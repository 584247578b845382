"""What the twins decide alike, without any input or output."""

import time
from collections.abc import Callable

import grpc

from talkingmachines._errors import Busy, ServerError, Unavailable
from talkingmachines._events import Event, Summary
from talkingmachines._health import SERVICE_UNKNOWN, SERVING
from talkingmachines._status import CallContext, error_of, no_server, not_ours
from talkingmachines._wire import event_of
from talkingmachines_api.standard.v1.health_pb2 import HealthCheckResponse
from talkingmachines_api.v1 import talk_pb2

_SHORTEST_DELAY_S = 0.05
_READY_POLL_S = 0.25


class Exchange:
    """Reads the steps of one answer, and judges its faults."""

    def __init__(
        self,
        server: str,
        deadline_s: float,
        retry_busy_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._deadline_s = deadline_s
        self._retry_busy_s = retry_busy_s
        self._clock = clock
        self._give_up_at: float | None = None
        self._num_events = 0
        self._is_complete = False

    def read(self, message: talk_pb2.TalkEvent) -> Event | None:
        self._num_events += 1
        event = event_of(message)
        self._is_complete = self._is_complete or isinstance(event, Summary)
        return event

    def check_complete(self) -> None:
        """Raises ServerError where the stream has ended early, though without an error."""
        if not self._is_complete:
            raise ServerError(
                f"{self._server} ended the answer after {self._num_events} steps without its"
                " summary: see the server's log."
            )

    def delay_before_retry_s(self, error: grpc.RpcError) -> float:
        """How long to wait before another try.

        Only a full server is tried again: it refuses before it does any work.

        Raises:
            TalkError: What `error` stands for, where there shall be no other try.
        """
        fault = error_of(error, CallContext(self._server, self._deadline_s, self._num_events))
        if not isinstance(fault, Busy) or self._num_events:
            raise fault from error
        if self._give_up_at is None:
            self._give_up_at = self._clock() + self._retry_busy_s
        delay_s = max(fault.retry_after_s, _SHORTEST_DELAY_S)
        if self._clock() + delay_s > self._give_up_at:
            raise fault from error
        return delay_s


class Readiness:
    """Decides how long to go on waiting for a server."""

    def __init__(
        self, server: str, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._clock = clock
        self._give_up_at = clock() + timeout_s
        self._has_answered = False

    @property
    def left_s(self) -> float:
        return max(self._give_up_at - self._clock(), 0.0)

    def is_ready(self, answer: HealthCheckResponse) -> bool:
        """Takes one state that the server tells of itself.

        Raises:
            ServerError: If it is another kind of server.
        """
        self._has_answered = True
        if answer.status == SERVICE_UNKNOWN:
            raise not_ours(self._server, "unknown service")
        return answer.status == SERVING

    def delay_after_end_s(self, error: grpc.RpcError | None) -> float:
        """How long to wait before asking again, after the server stopped telling.

        Raises:
            Unavailable: If the time is up.
            TalkError: What `error` stands for, where waiting does not help.
        """
        code = error.code() if error else grpc.StatusCode.OK
        if code is grpc.StatusCode.DEADLINE_EXCEEDED or (not error and self.left_s < _READY_POLL_S):
            raise self._too_late() from error
        if error is None:
            return _READY_POLL_S
        if code is grpc.StatusCode.NOT_FOUND:  # of the service, by its name
            raise not_ours(self._server, error.details() or "unknown service") from error
        fault = error_of(error, CallContext(self._server, self._timeout_s))
        if code is not grpc.StatusCode.UNAVAILABLE or self.left_s < _READY_POLL_S:
            raise fault from error
        return _READY_POLL_S

    def _too_late(self) -> Unavailable:
        if not self._has_answered:
            return no_server(self._server, f"no answer within {self._timeout_s:g} s")
        return Unavailable(
            f"The server at {self._server} runs, but was not ready within"
            f" {self._timeout_s:g} s: it is still loading, or a part of it fails; see its log."
        )
