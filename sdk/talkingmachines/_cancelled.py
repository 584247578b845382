"""Tells two kinds of asyncio.CancelledError apart."""

import asyncio


def is_being_cancelled() -> bool:
    """Whether it is this very task that is cancelled: only that may be passed on.

    gRPC raises the same error in a task whose call or channel was closed under it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
