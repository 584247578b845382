"""The errors as values."""

import pickle
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no stubs

import talkingmachines as tm
from avatar import errors
from avatar.transport.status import status_of
from talkingmachines._status import CallContext, error_of

pytestmark = pytest.mark.unit


def test_an_error_survives_the_way_to_another_process() -> None:
    busy = tm.Busy("Full.", retry_after_s=7.5)

    copy = pickle.loads(pickle.dumps(busy))  # noqa: S301  # our own bytes, made a line above

    assert type(copy) is tm.Busy
    assert (str(copy), copy.reason, copy.retry_after_s) == ("Full.", "NO_FREE_SLOT", 7.5)


def test_a_callers_mistake_is_a_value_error_too() -> None:
    assert issubclass(tm.InvalidInput, ValueError)
    assert issubclass(tm.TooLarge, tm.InvalidInput)
    assert issubclass(tm.NoSpeech, tm.InvalidInput)


def test_without_a_reason_of_the_server_an_error_has_its_own() -> None:
    assert tm.NotFound("No such avatar.").reason == "NOT_FOUND"
    assert tm.NotFound("No such avatar.", reason="GONE").reason == "GONE"


class Failed(grpc.RpcError):
    """A call that ended with this status, as gRPC reports it."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        return next(code for code in grpc.StatusCode if code.value[0] == self._status.code)

    def details(self) -> str:
        return str(self._status.message)

    def trailing_metadata(self) -> Any:
        return (("grpc-status-details-bin", self._status.SerializeToString()),)


def tree(root: type[errors.AvatarError]) -> list[type[errors.AvatarError]]:
    return [root, *(each for child in root.__subclasses__() for each in tree(child))]


BY_ANOTHER_NAME = {
    "CHANNEL_CLOSED", "CONSENT_MISSING", "CORRUPT_FILE", "CREDIT_EXCEEDED", "FENCED",
    "METHOD_NOT_ALLOWED", "NOT_READY", "PROFILE_TAKES_NO_DESCRIPTION",
    "PROFILE_TAKES_NO_PORTRAIT", "RANGE_NOT_SATISFIABLE", "UNSUPPORTED_MEDIA_TYPE",
}  # fmt: skip
"""Nobody does anything else about them here than about their kind."""


@pytest.mark.parametrize("error", tree(errors.AvatarError), ids=lambda error: error.__name__)
def test_each_error_of_the_server_is_known_here(error: type[errors.AvatarError]) -> None:
    fault = error_of(Failed(status_of(error("Do this."))), CallContext("127.0.0.1:9000", 1.0))

    assert (fault.reason, str(fault)) == (error.reason, "Do this.")
    if type(fault).default_reason != error.reason:
        assert error.reason in BY_ANOTHER_NAME


def test_a_full_server_tells_the_place_in_line_and_a_used_up_key_what_of() -> None:
    call = CallContext("127.0.0.1:9000", 1.0)
    full = error_of(Failed(status_of(errors.Busy("Full.", 7.5, position=3))), call)
    used = error_of(Failed(status_of(errors.QuotaExceeded("Used.", 60.0, "minutes_a_day"))), call)

    assert isinstance(full, tm.Busy)
    assert (full.retry_after_s, full.position) == (7.5, 3)
    assert isinstance(used, tm.QuotaExceeded)
    assert (used.retry_after_s, used.quota) == (60.0, "minutes_a_day")
