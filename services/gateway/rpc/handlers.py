"""What serves a call, wrapped, whichever kind of call it is."""

from collections.abc import Awaitable, Callable
from typing import Any

Serve = Callable[[Any, Any], Awaitable[Any]]
"""Takes a request, or what gives requests, and the context; writes or returns what it answers."""


def wrapped(handler: Any, wrap: Callable[[Any], Serve], **changes: Any) -> Any:
    """The same handler, whose behaviour went through `wrap`; `changes` are further fields of it."""
    kind = (
        f"{'stream' if handler.request_streaming else 'unary'}_"
        f"{'stream' if handler.response_streaming else 'unary'}"
    )
    return handler._replace(**{kind: wrap(getattr(handler, kind)), **changes})
