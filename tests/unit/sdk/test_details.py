"""Errors and health by messages of our own: the same bytes as the originals, and beside them."""

import subprocess
import sys

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no stubs
from grpc_health.v1 import health_pb2

from talkingmachines import _health
from talkingmachines._details import TRAILER, Details, read_details, written
from talkingmachines_api.standard.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

pytestmark = pytest.mark.unit

EXHAUSTED = 8
TOLD = Details("NO_FREE_SLOT", 2.5, 3, "sessions")


def originals(trailer: tuple[tuple[str, bytes], ...]) -> status_pb2.Status:
    ((key, value),) = trailer
    assert key == "grpc-status-details-bin"
    return status_pb2.Status.FromString(value)


def trailer_of(*details: object, code: int = EXHAUSTED) -> tuple[tuple[str, bytes], ...]:
    status = status_pb2.Status(code=code, message="Full.")
    for detail in details:
        status.details.add().Pack(detail)
    return ((TRAILER, status.SerializeToString()),)


def test_others_read_what_is_written() -> None:
    status = originals(written(EXHAUSTED, "Full.", TOLD))
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    quota = error_details_pb2.QuotaFailure()

    assert (status.code, status.message) == (EXHAUSTED, "Full.")
    for detail, message in zip(status.details, (info, retry, quota), strict=True):
        assert detail.Unpack(message)
    assert (info.reason, info.domain) == ("NO_FREE_SLOT", "talkingmachines")
    assert dict(info.metadata) == {"position": "3"}
    assert retry.retry_delay.ToNanoseconds() == 2_500_000_000
    assert [each.subject for each in quota.violations] == ["sessions"]


def test_what_others_write_is_read_with_details_that_are_new_here() -> None:
    info = error_details_pb2.ErrorInfo(
        reason="NO_FREE_SLOT", domain="x", metadata={"position": "3"}
    )
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    retry.retry_delay.FromMilliseconds(2500)
    quota.violations.add(subject="sessions", description="Too many.", quota_metric="new")
    help_ = error_details_pb2.Help()

    assert read_details(trailer_of(help_, info, retry, quota), EXHAUSTED) == TOLD


def test_no_details_are_none() -> None:
    info = error_details_pb2.ErrorInfo(reason="NO_FREE_SLOT")

    for trailer in (None, (), (("other", "x"),), trailer_of(), trailer_of(info, code=5)):
        assert read_details(trailer, EXHAUSTED) == Details()


def damaged(detail: str, value: bytes) -> tuple[tuple[str, bytes], ...]:
    inside = AnyMessage(type_url=f"type.googleapis.com/google.rpc.{detail}", value=value)
    status = status_pb2.Status(code=EXHAUSTED, details=[inside])
    return ((TRAILER, status.SerializeToString()),)


def test_what_is_damaged_is_as_if_it_were_not_there() -> None:
    endless = error_details_pb2.RetryInfo()
    endless.retry_delay.seconds = 2**62
    far = error_details_pb2.ErrorInfo(reason="X", metadata={"position": "9" * 5000})

    for trailer in (
        ((TRAILER, b"\xff\xff"),),
        damaged("ErrorInfo", b"\xff\xff"),
        damaged("RetryInfo", endless.SerializeToString()),
        damaged("ErrorInfo", far.SerializeToString()),
    ):
        assert read_details(trailer, EXHAUSTED) == Details()


def test_health_has_the_bytes_of_the_original() -> None:
    request = HealthCheckRequest(service="a.Service")
    original = health_pb2.HealthCheckRequest(service="a.Service")

    assert request.SerializeToString() == original.SerializeToString()
    theirs = health_pb2.DESCRIPTOR.services_by_name["Health"]
    assert theirs.full_name == _health.SERVICE
    names = health_pb2.HealthCheckResponse.ServingStatus.items()
    for name, number in names:
        ours = HealthCheckResponse(status=number)
        same = health_pb2.HealthCheckResponse(status=number)
        assert ours.SerializeToString() == same.SerializeToString()
        if number:
            assert getattr(_health, name) == number


OURS = "import talkingmachines.testing"
THEIRS = """
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status
"""
HIDDEN = """
import sys
sys.modules.update(dict.fromkeys(("google.rpc", "grpc_status", "grpc_health")))
"""
PROGRAM = """
from talkingmachines import Busy, Client
from talkingmachines.testing import MockServer
with MockServer() as server, Client(server.address) as client:
    client.wait_ready()
    server.fail("Say", "NO_FREE_SLOT", retry_after_s=2.0, position=3)
    try:
        list(client.say("Hello."))
    except Busy as error:
        print(error.reason, error.retry_after_s, error.position)
"""


@pytest.mark.parametrize(
    "before",
    [OURS + THEIRS, THEIRS + OURS, HIDDEN + OURS],
    ids=["before the originals", "after the originals", "without them"],
)
def test_errors_and_health_work_beside_the_originals_and_without_them(before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", before + PROGRAM], capture_output=True, text=True, check=False
    )

    # stderr is left aside: gRPC may write there that the server has stopped
    assert (done.returncode, done.stdout) == (0, "NO_FREE_SLOT 2.0 3\n"), done.stderr
