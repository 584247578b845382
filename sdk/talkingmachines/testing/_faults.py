"""The server's errors, made on demand: the same statuses and details that the real one sends."""

from dataclasses import dataclass
from typing import Final, NoReturn

import grpc

from talkingmachines._details import Details, written

STATUSES: Final[dict[str, grpc.StatusCode]] = {
    "INVALID_INPUT": grpc.StatusCode.INVALID_ARGUMENT,
    "TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "KEY_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
    "NO_SPEECH": grpc.StatusCode.INVALID_ARGUMENT,
    "CREDIT_EXCEEDED": grpc.StatusCode.INVALID_ARGUMENT,
    "PROFILE_TAKES_NO_PORTRAIT": grpc.StatusCode.FAILED_PRECONDITION,
    "PROFILE_TAKES_NO_DESCRIPTION": grpc.StatusCode.FAILED_PRECONDITION,
    "CONSENT_MISSING": grpc.StatusCode.FAILED_PRECONDITION,
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
        code = STATUSES[self.reason]
        told = Details(self.reason, self.retry_after_s, self.position, self.quota)
        context.set_trailing_metadata(written(code.value[0], self.message, told))
        context.abort(code, self.message)
