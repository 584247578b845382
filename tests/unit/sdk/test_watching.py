"""How long an avatar that is being made is looked at."""

from typing import Any

import grpc
import pytest

import talkingmachines as tm
from talkingmachines._watching import PATIENCE_S, STREAM_S, Watching, finished
from talkingmachines_api.v1 import avatar_pb2
from tests.fakes.calls import ManualClock

pytestmark = pytest.mark.unit


class Failed(grpc.RpcError):
    """A call that ended with this status, on the way."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "It broke."

    def trailing_metadata(self) -> Any:
        return ()


UNAVAILABLE = Failed(grpc.StatusCode.UNAVAILABLE)
TIME_UP = Failed(grpc.StatusCode.DEADLINE_EXCEEDED)


def step(
    state: "avatar_pb2.OperationState.ValueType" = avatar_pb2.OPERATION_STATE_RUNNING,
    **fields: Any,
) -> avatar_pb2.WatchOperationResponse:
    operation = avatar_pb2.Operation(id="o", avatar_id="nova", state=state, **fields)
    return avatar_pb2.WatchOperationResponse(operation=operation)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def watching(clock: ManualClock) -> Watching:
    return Watching("127.0.0.1:9000", clock=clock)


def test_what_was_told_before_is_told_once(watching: Watching) -> None:
    assert watching.read(step()) is not None
    assert watching.read(step()) is None
    assert watching.read(step(progress=0.5)) is not None
    assert not watching.is_over
    assert watching.read(step(avatar_pb2.OPERATION_STATE_DONE)) is not None
    assert watching.is_over


def test_a_state_that_only_a_newer_server_knows_is_no_end(watching: Watching) -> None:
    watching.read(step(99))  # type: ignore[arg-type]

    assert not watching.is_over


def test_a_call_that_lives_long_is_asked_anew_at_once(watching: Watching) -> None:
    assert watching.stream_s() == STREAM_S
    watching.read(step())

    assert watching.delay_s(TIME_UP) == 0.0


def test_a_server_that_is_away_is_waited_for_a_while(
    watching: Watching, clock: ManualClock
) -> None:
    assert watching.delay_s(UNAVAILABLE) > 0
    clock.now += PATIENCE_S
    assert watching.delay_s(UNAVAILABLE) > 0
    watching.read(step())  # it is back
    assert watching.delay_s(None) > 0
    clock.now += PATIENCE_S + 1
    with pytest.raises(tm.Unavailable):
        watching.delay_s(UNAVAILABLE)


def test_a_server_that_hangs_is_not_waited_for_for_ever(
    watching: Watching, clock: ManualClock
) -> None:
    watching.stream_s()
    watching.delay_s(TIME_UP)
    watching.stream_s()
    clock.now += STREAM_S
    with pytest.raises(tm.Unavailable, match="does not tell"):
        watching.delay_s(TIME_UP)


def test_other_errors_end_it_at_once(watching: Watching) -> None:
    with pytest.raises(tm.NotFound):
        watching.delay_s(Failed(grpc.StatusCode.NOT_FOUND))
    with pytest.raises(tm.ConnectionLost):
        watching.delay_s(Failed(grpc.StatusCode.CANCELLED))


def test_the_time_that_was_given_is_kept(clock: ManualClock) -> None:
    watching = Watching("127.0.0.1:9000", 70.0, clock)
    assert watching.stream_s() == STREAM_S
    watching.read(step())
    clock.now += STREAM_S
    watching.delay_s(TIME_UP)
    assert watching.stream_s() == 10.0
    clock.now += 10.0
    with pytest.raises(tm.DeadlineExceeded, match="after 70 s"):
        watching.delay_s(TIME_UP)
    assert watching.stream_s() == 0.0


@pytest.mark.parametrize(
    ("reason", "error"),
    [("UNAVAILABLE", tm.Unavailable), ("INVALID_INPUT", tm.InvalidInput), ("?", tm.ServerError)],
)
def test_what_came_to_nothing_is_raised_by_its_reason(
    reason: str, error: type[tm.TalkError]
) -> None:
    watching = Watching("127.0.0.1:9000")
    state = avatar_pb2.OPERATION_STATE_FAILED
    last = watching.read(step(state, error_reason=reason, error_message="Do this."))
    with pytest.raises(error, match=r"Do this\.") as caught:
        finished(last)

    assert type(caught.value) is error
    assert caught.value.reason == reason
