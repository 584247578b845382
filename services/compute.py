"""A stage's only compute thread: of what waits for it, the earliest deadline comes first."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import Empty, PriorityQueue
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

SMOOTHING = 0.2
"""Weight of the last duration in what the next one is expected to be."""


class Batch(Generic[T, R]):
    """A function of up to `most` items that is called with those that wait at the same time.

    Nobody waits for a batch to fill. It learns how long each size takes: the first of a batch gets
    its result later than it would alone, so companions are taken only where its deadline allows.
    """

    def __init__(self, function: Callable[[list[T]], Sequence[R]], most: int = 1) -> None:
        self.function, self.most = function, most
        self._expected_s: dict[int, float] = {}

    def allowed(self, left_s: float) -> int:
        """How many at once, where the first has so much time left.

        One that is late even alone has nothing to lose, and more are done in the same time.
        """
        if left_s < self._takes_s(1):
            return self.most
        sizes = range(self.most, 1, -1)
        return next((size for size in sizes if self._takes_s(size) <= left_s), 1)

    def took(self, size: int, seconds: float) -> None:
        before = self._expected_s.get(size, seconds)
        self._expected_s[size] = before + SMOOTHING * (seconds - before)

    def _takes_s(self, size: int) -> float:
        return self._expected_s.get(size, size * self._expected_s.get(1, 0.0))


@dataclass(frozen=True, order=True)
class _Call:
    deadline: float
    number: int  # of two with the same deadline the one that came first
    batch: "Batch[Any, Any]" = field(compare=False)
    item: Any = field(compare=False)
    result: "Future[Any]" = field(compare=False)


class ComputeThread:
    """Runs one call after the other; one that runs is never interrupted.

    Deadlines are in seconds of `clock`.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: PriorityQueue[_Call] = PriorityQueue()
        self._numbers = count()
        self._clock = clock

    @property
    def num_waiting(self) -> int:
        return self._waiting.qsize()

    def run(
        self, deadline: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[R]:
        """Have `function` run, alone, due at `deadline`."""
        call = partial(function, *args, **kwargs)
        return self.join(deadline, Batch(lambda _: [call()]), None)

    def join(self, deadline: float, batch: Batch[T, R], item: T) -> asyncio.Future[R]:
        """Have `batch` called with `item`, due at `deadline`, and others that wait for it."""
        result: Future[R] = Future()
        self._waiting.put(_Call(deadline, next(self._numbers), batch, item, result))
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
        calls = [each for each in self._taken() if each.result.set_running_or_notify_cancel()]
        if calls:
            self._run(calls)

    def _taken(self) -> list[_Call]:
        """The next call, and those right after it that may be made with it."""
        taken: list[_Call] = []
        with suppress(Empty):  # others may have been taken along
            taken.append(self._waiting.get_nowait())
            batch, most = taken[0].batch, 1
            if batch.most > 1:
                most = batch.allowed(taken[0].deadline - self._clock())
            while len(taken) < most:
                call = self._waiting.get_nowait()
                if call.batch is not batch:
                    self._waiting.put(call)
                    break
                taken.append(call)
        return taken

    def _run(self, calls: list[_Call]) -> None:
        batch, started = calls[0].batch, self._clock()
        try:
            results = batch.function([call.item for call in calls])
        except BaseException as error:  # noqa: BLE001  # it is whoever waits for it who is told
            if len(calls) == 1:
                calls[0].result.set_exception(error)
                return
            for call in calls:  # one of them cannot be made: the others can
                self._run([call])
            return
        batch.took(len(calls), self._clock() - started)
        for call, result in zip(calls, results, strict=True):
            call.result.set_result(result)
