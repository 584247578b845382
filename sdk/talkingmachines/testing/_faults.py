"""The server's errors, made on demand: the same statuses and details that the real one sends."""

from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no stubs
from grpc_status import rpc_status

DOMAIN: Final = "talkingmachines"
STATUSES: Final[dict[str, grpc.StatusCode]] = {
    "INVALID_INPUT": grpc.StatusCode.INVALID_ARGUMENT,
    "TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "KEY_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
    "NO_SPEECH": grpc.StatusCode.INVALID_ARGUMENT,
    "CREDIT_EXCEEDED": grpc.StatusCode.INVALID_ARGUMENT,
    "NOT_OFFERED": grpc.StatusCode.FAILED_PRECONDITION,
    "NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "CORRUPT_FILE": grpc.StatusCode.DATA_LOSS,
    "NO_FREE_SLOT": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "TOO_MANY_ATTEMPTS": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "TOO_MANY_VIEWERS": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "QUOTA_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "MODEL_SERVER_UNREACHABLE": grpc.StatusCode.UNAVAILABLE,
    "CHANNEL_CLOSED": grpc.StatusCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "FENCED": grpc.StatusCode.ABORTED,
    "SESSION_LOST": grpc.StatusCode.FAILED_PRECONDITION,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}
"""The catalogue, by reason."""


@dataclass(frozen=True)
class Fault:
    """One error. Without a reason it looks like one on the way: a broken connection."""

    reason: str = ""
    message: str = "The mock server was asked to fail."
    retry_after_s: float | None = None
    position: int | None = None
    quota: str = ""

    def __post_init__(self) -> None:
        if self.reason and self.reason not in STATUSES:
            raise ValueError(f"{self.reason!r}: choose one of {', '.join(STATUSES)}")

    def end(self, context: grpc.ServicerContext) -> NoReturn:
        """Ends the call with it."""
        if not self.reason:
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset by the mock server")
        status = status_pb2.Status(code=STATUSES[self.reason].value[0], message=self.message)
        status.details.extend(_packed(detail) for detail in self._details())
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort returned")

    def _details(self) -> list[Any]:
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        details: list[Any] = [info]
        if self.position is not None:
            info.metadata["position"] = str(self.position)
        if self.retry_after_s is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(round(self.retry_after_s * 1e9))
            details.append(retry)
        if self.quota:
            failure = error_details_pb2.QuotaFailure()
            failure.violations.add(subject=self.quota)
            details.append(failure)
        return details


def _packed(detail: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
