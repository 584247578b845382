"""An error is the same error at both ends of a call."""

from collections.abc import Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]  # no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs

from avatar.errors import AvatarError, Busy, TooLarge
from avatar.transport.status import DOMAIN, MAX_MESSAGE_CHARACTERS, error_of, status_of

pytestmark = pytest.mark.unit


def tree(root: type[AvatarError]) -> Iterator[type[AvatarError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("error_type", list(tree(AvatarError)), ids=lambda error: error.reason)
def test_every_error_comes_back_as_itself(error_type: type[AvatarError]) -> None:
    status = status_of(error_type("7 given, 3 expected"))
    back = error_of(status)
    assert type(back) is error_type
    assert str(back) == "7 given, 3 expected"
    assert status.code == grpc.StatusCode[error_type.grpc_status].value[0]


def test_reasons_are_unique() -> None:
    reasons = [error_type.reason for error_type in tree(AvatarError)]
    assert len(reasons) == len(set(reasons))


def test_busy_keeps_its_delay() -> None:
    back = error_of(status_of(Busy("2 of 2 slots taken", retry_after_s=2.25)))
    assert isinstance(back, Busy)
    assert back.retry_after_s == 2.25


def test_a_long_message_is_cut_to_what_trailers_hold() -> None:
    status = status_of(TooLarge("你" * 10_000))
    assert status.message == "你" * MAX_MESSAGE_CHARACTERS
    # Percent-encoded in grpc-message and as base64 in the details.
    assert 9 * MAX_MESSAGE_CHARACTERS + status.ByteSize() * 4 / 3 < 8192


def test_a_reason_of_a_newer_peer_is_still_an_error_of_ours() -> None:
    status = Status(code=9, message="the moon is full")
    status.details.add().Pack(ErrorInfo(reason="FULL_MOON", domain=DOMAIN))
    back = error_of(status)
    assert type(back) is AvatarError
    assert str(back) == "the moon is full"


def test_a_status_of_somebody_else_is_not_taken_for_ours() -> None:
    status = Status(code=9, message="?")
    assert error_of(status) is None
    status.details.add().Pack(ErrorInfo(reason="NOT_FOUND", domain="googleapis.com"))
    assert error_of(status) is None
