"""Turns a failed gRPC call into the error it stands for."""

from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no stubs
from grpc_status import rpc_status

from talkingmachines._errors import (
    Busy,
    ConnectionLost,
    DeadlineExceeded,
    InvalidInput,
    ModelServerUnreachable,
    NoSpeech,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ServerError,
    SessionLost,
    TalkError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_BY_REASON: dict[str, type[TalkError]] = {
    "INVALID_INPUT": InvalidInput,
    "TOO_LARGE": TooLarge,
    "NO_SPEECH": NoSpeech,
    "NOT_FOUND": NotFound,
    "NO_FREE_SLOT": Busy,
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
    info, retry = _details(error)
    retry_after_s = retry.retry_delay.ToTimedelta().total_seconds() if retry else None
    if info is None:
        return _error_on_the_way(error, call, retry_after_s)
    cls = _BY_REASON.get(info.reason) or _BY_CODE.get(error.code(), ServerError)
    message = error.details() or f"The server gave the reason {info.reason} and no message."
    return _make(cls, message, info.reason, retry_after_s)


def _error_on_the_way(
    error: grpc.RpcError, call: CallContext, retry_after_s: float | None
) -> TalkError:
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
            return _make(cls, message, "", retry_after_s)


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


def _make(
    cls: type[TalkError], message: str, reason: str, retry_after_s: float | None
) -> TalkError:
    if retry_after_s is None:
        return cls(message, reason=reason)
    return cls(message, reason=reason, retry_after_s=retry_after_s)


def _details(
    error: grpc.RpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, error_details_pb2.RetryInfo | None]:
    """Reads google.rpc.Status from the call's trailing metadata (AIP-193)."""
    info = retry = None
    for detail in _status(error).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info := error_details_pb2.ErrorInfo())
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            detail.Unpack(retry := error_details_pb2.RetryInfo())
    return info, retry


def _status(error: grpc.RpcError) -> status_pb2.Status:
    try:
        # It reads what every RpcError has, though those of grpc.aio are no grpc.Call.
        return rpc_status.from_call(cast(grpc.Call, error)) or status_pb2.Status()
    except (ValueError, DecodeError):  # a proxy's own idea of details: the status code is left
        return status_pb2.Status()
