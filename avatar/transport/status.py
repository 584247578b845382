"""AvatarError to google.rpc.Status and back: the same error is raised at both ends of a call."""

from collections.abc import Iterator

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # ships no stubs
    ErrorInfo,
    QuotaFailure,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no stubs

from avatar.errors import AvatarError, Busy, QuotaExceeded

DOMAIN = "talkingmachines"
MAX_MESSAGE_CHARACTERS = 500
"""gRPC refuses trailers over 8 KiB, and this text travels in them twice, percent-encoded once."""


def status_of(error: AvatarError) -> Status:
    """`error` with its reason as ErrorInfo; its delay as RetryInfo and what was used up as
    QuotaFailure, where it has them.
    """
    code: int = grpc.StatusCode[error.grpc_status].value[0]
    status = Status(code=code, message=str(error)[:MAX_MESSAGE_CHARACTERS])
    info = ErrorInfo(reason=error.reason, domain=DOMAIN)
    if isinstance(error, Busy) and error.position is not None:
        info.metadata["position"] = str(error.position)
    status.details.add().Pack(info)
    if isinstance(error, Busy):
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    if isinstance(error, QuotaExceeded):
        failure = QuotaFailure()
        failure.violations.add(subject=error.quota, description=str(error)[:100])
        status.details.add().Pack(failure)
    return status


def error_of(status: Status) -> AvatarError | None:
    """The error that `status_of` was given; None if `status` carries no reason of ours.

    A reason that this version does not know becomes a plain AvatarError.
    """
    info, retry, failure = ErrorInfo(), RetryInfo(), QuotaFailure()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(retry) or detail.Unpack(failure)
    if info.domain != DOMAIN:
        return None
    error_type = {error.reason: error for error in _tree(AvatarError)}.get(info.reason, AvatarError)
    delay_s = retry.retry_delay.ToNanoseconds() / 1e9
    if issubclass(error_type, QuotaExceeded):
        quota = failure.violations[0].subject if failure.violations else ""
        return error_type(status.message, delay_s, quota)
    if issubclass(error_type, Busy):
        place = info.metadata.get("position", "")
        position = int(place) if place.isdecimal() else None
        return error_type(status.message, delay_s, position)
    return error_type(status.message)


def _tree(root: type[AvatarError]) -> Iterator[type[AvatarError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
