"""A stage's only compute thread: of what waits for it, the earliest deadline comes first."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import Empty, PriorityQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, order=True)
class _Call:
    deadline: float
    number: int  # of two with the same deadline the one that came first
    function: Callable[[], Any] = field(compare=False)
    result: "Future[Any]" = field(compare=False)


class ComputeThread:
    """Runs one call after the other; one that runs is never interrupted."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: PriorityQueue[_Call] = PriorityQueue()
        self._numbers = count()

    @property
    def num_waiting(self) -> int:
        return self._waiting.qsize()

    def run(
        self, deadline: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[R]:
        """Have `function` run, due at `deadline` in seconds of whatever clock all calls use."""
        result: Future[R] = Future()
        call = partial(function, *args, **kwargs)
        self._waiting.put(_Call(deadline, next(self._numbers), call, result))
        self._thread.submit(self._run_next)  # as often as there are calls, whichever comes first
        return asyncio.wrap_future(result)

    def close(self) -> None:
        """Wait for the call that runs; those that wait are cancelled. Idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        with suppress(Empty):
            while True:
                self._waiting.get_nowait().result.cancel()
        self._thread.shutdown()

    def _run_next(self) -> None:
        call = self._waiting.get_nowait()
        if not call.result.set_running_or_notify_cancel():
            return
        try:
            call.result.set_result(call.function())
        except BaseException as error:  # noqa: BLE001  # it is whoever waits for it who is told
            call.result.set_exception(error)
