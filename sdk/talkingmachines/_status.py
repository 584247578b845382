"""Turns a failed gRPC call into the error it stands for."""

from dataclasses import dataclass
from typing import Any

import grpc

from talkingmachines._details import Details, read_details
from talkingmachines._errors import (
    Busy,
    ConnectionLost,
    DeadlineExceeded,
    InvalidInput,
    KeyReused,
    ModelServerUnreachable,
    NoSpeech,
    NotFound,
    NotOffered,
    PermissionDenied,
    QuotaExceeded,
    ServerError,
    SessionLost,
    TalkError,
    TooLarge,
    TooManyAttempts,
    TooManyViewers,
    Unauthenticated,
    Unavailable,
)

_BY_REASON: dict[str, type[TalkError]] = {
    "INVALID_INPUT": InvalidInput,
    "TOO_LARGE": TooLarge,
    "KEY_REUSED": KeyReused,
    "NO_SPEECH": NoSpeech,
    "CREDIT_EXCEEDED": InvalidInput,  # this package keeps to it
    "NOT_OFFERED": NotOffered,
    "PROFILE_TAKES_NO_PORTRAIT": NotOffered,
    "PROFILE_TAKES_NO_DESCRIPTION": NotOffered,
    "CONSENT_MISSING": NotOffered,
    "NOT_FOUND": NotFound,
    "NO_FREE_SLOT": Busy,
    "TOO_MANY_ATTEMPTS": TooManyAttempts,
    "TOO_MANY_VIEWERS": TooManyViewers,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAVAILABLE": Unavailable,
    "MODEL_SERVER_UNREACHABLE": ModelServerUnreachable,
    "CHANNEL_CLOSED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "FENCED": SessionLost,
    "SESSION_LOST": SessionLost,
    "CORRUPT_FILE": ServerError,
    "INTERNAL": ServerError,
}
_BY_CODE: dict[grpc.StatusCode, type[TalkError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Busy,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.ABORTED: SessionLost,
}


@dataclass(frozen=True)
class CallContext:
    """What the message of an error should say about the call."""

    server: str
    deadline_s: float
    num_events: int = 0


def error_of(error: grpc.RpcError, call: CallContext) -> TalkError:
    """The error that a failed call stands for.

    A server of this project says what is wrong in ErrorInfo, and its message is passed on. Without
    it the fault lies on the way there, and the message is ours.
    """
    told = read_details(error.trailing_metadata(), error.code().value[0])
    if not told.reason:
        return _error_on_the_way(error, call, told)
    cls = _BY_REASON.get(told.reason) or _BY_CODE.get(error.code(), ServerError)
    message = error.details() or f"The server gave the reason {told.reason} and no message."
    return _make(cls, message, told)


def error_told(reason: str, message: str) -> TalkError:
    """The error that a server told in its answer: what became of an operation."""
    return _make(_BY_REASON.get(reason, ServerError), message, Details(reason))


def _error_on_the_way(error: grpc.RpcError, call: CallContext, told: Details) -> TalkError:
    code, details = error.code(), error.details() or "no details given"
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED} and call.num_events:
        return ConnectionLost(
            f"The connection to {call.server} was lost after {call.num_events} steps of the"
            f" answer; ask again, and see the server's log. ({details})"
        )
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return no_server(call.server, details)
        case grpc.StatusCode.CANCELLED:
            return ConnectionLost(f"The call was ended by the server or by close(). ({details})")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(
                f"{call.server} did not answer completely within {call.deadline_s:g} s:"
                " raise deadline_s (--deadline), or look at the server's load."
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return not_ours(call.server, details)
        case _:
            cls = _BY_CODE.get(code, ServerError)
            message = f"{call.server} failed with {code.name}: {details}"
            return _make(cls, message, told)


def no_server(server: str, details: str) -> Unavailable:
    return Unavailable(
        f"No server answers at {server}: start it with `make run`, or name another one with"
        f" --server or TALKINGMACHINES_SERVER. ({details})"
    )


def not_ours(server: str, details: str) -> ServerError:
    return ServerError(
        f"What listens at {server} does not know this call: give the gRPC address of a"
        f" TalkingMachines server of this version. ({details})"
    )


def _make(cls: type[TalkError], message: str, told: Details) -> TalkError:
    more: dict[str, Any] = {"reason": told.reason}
    if told.retry_after_s is not None:
        more["retry_after_s"] = told.retry_after_s
    if issubclass(cls, Busy):
        more["position"] = told.position
    if issubclass(cls, QuotaExceeded):
        more["quota"] = told.quota
    return cls(message, **more)
