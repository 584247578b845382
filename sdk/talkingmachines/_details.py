"""What a server says of an error besides its status and message (AIP-193), from and to the wire.

It travels as a google.rpc.Status in the trailing metadata; here by messages of our own with the
same bytes, so that nothing but protobuf is needed and nothing collides with the originals.
"""

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from talkingmachines_api.standard.v1 import status_pb2

TRAILER: Final = "grpc-status-details-bin"
DOMAIN: Final = "talkingmachines"
_TYPE_URL: Final = "type.googleapis.com/google.rpc."


@dataclass(frozen=True)
class Details:
    """`reason` is empty where the server told nothing."""

    reason: str = ""
    retry_after_s: float | None = None
    position: int | None = None
    quota: str = ""


def read_details(trailer: Any, code: int) -> Details:
    """Of a call that ended with that status code and that trailing metadata, if it had any.

    What is damaged, or tells of another status, is a proxy's own idea of details: then there are
    none.
    """
    for key, value in trailer or ():
        if key == TRAILER and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
                return _read(status) if status.code == code else Details()
            except (DecodeError, ValueError, OverflowError):  # these of a delay, or of a place
                return Details()
    return Details()


def written(code: int, message: str, details: Details) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata of a call that ends so."""
    info = status_pb2.ErrorInfo(reason=details.reason, domain=DOMAIN)
    told: list[Message] = [info]
    if details.position is not None:
        info.metadata["position"] = str(details.position)
    if details.retry_after_s is not None:
        retry = status_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(details.retry_after_s * 1e9))
        told.append(retry)
    if details.quota:
        failure = status_pb2.QuotaFailure()
        failure.violations.add(subject=details.quota)
        told.append(failure)
    status = status_pb2.Status(code=code, message=message, details=map(_packed, told))
    return ((TRAILER, status.SerializeToString()),)


def _read(status: status_pb2.Status) -> Details:
    info, retry = status_pb2.ErrorInfo(), status_pb2.RetryInfo()
    quota = status_pb2.QuotaFailure()
    kinds: dict[str, Any] = {_name_of(each): each for each in (info, retry, quota)}
    found = set()
    for detail in status.details:
        name = detail.type_url.rpartition("/")[2]
        if (kind := kinds.get(name)) is not None:
            kind.ParseFromString(detail.value)
            found.add(name)
    place = info.metadata.get("position", "")
    is_retry_told = _name_of(retry) in found
    return Details(
        reason=info.reason,
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if is_retry_told else None,
        position=int(place) if place.isdecimal() else None,
        quota=quota.violations[0].subject if quota.violations else "",
    )


def _packed(detail: Message) -> AnyMessage:
    return AnyMessage(type_url=_TYPE_URL + detail.DESCRIPTOR.name, value=detail.SerializeToString())


def _name_of(detail: Message) -> str:
    return f"google.rpc.{detail.DESCRIPTOR.name}"
