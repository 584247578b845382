"""The border of every RPC: what a call shows, and how its errors are told."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from grpc_status import rpc_status

from avatar.errors import AvatarError
from avatar.telemetry.logging import get_logger
from avatar.transport.status import status_of
from services.gateway.outward import outward

log = get_logger(__name__)

T = TypeVar("T")


def headers_of(context: Any) -> dict[str, str]:
    """The call's metadata, without what is binary."""
    return {
        key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
    }


async def abort(context: Any, error: AvatarError) -> None:
    """End the call with the error's status, its reason, and how long to wait where that helps."""
    await context.abort_with_status(rpc_status.to_status(status_of(outward(error))))


async def answered(context: Any, answer: Callable[[], Awaitable[T]]) -> T:
    """What `answer` gives; its errors end the call with their status."""
    try:
        return await answer()
    except AvatarError as error:
        await abort(context, error)
    except Exception:  # the border: callers get a status, the log the traceback
        log.exception("request_failed")
        await abort(context, AvatarError("the server failed on this request; its log says why"))
    raise AssertionError("abort() raises")
