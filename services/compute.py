"""A stage's only compute thread: what waits for it is taken by urgency."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

from avatar.telemetry.logging import get_logger
from services.precedence import Due, urgency

log = get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Finish = Callable[[], float]
"""Waits until a device has done what a call asked it for; how many seconds that took."""

SMOOTHING = 0.2
"""Weight of the last duration in what the next one is expected to be."""


class Batch(Generic[T, R]):
    """A function of up to `most` items that is called with those that wait at the same time.

    Nobody waits for a batch to fill. It learns how long each size takes: the first of a batch gets
    its result later than it would alone, so companions are taken only where its deadline allows.
    `unfinished` tells of results whether a device is still making them.
    """

    def __init__(
        self,
        function: Callable[[list[T]], Sequence[R]],
        most: int = 1,
        unfinished: Callable[[Sequence[R]], Finish | None] = lambda results: None,
    ) -> None:
        self.function, self.most, self.unfinished = function, most, unfinished
        self._expected_s: dict[int, float] = {}

    def allowed(self, left_s: float) -> int:
        """How many at once, where the first has so much time left.

        One that is late even alone has nothing to lose, and more are done in the same time.
        """
        if left_s < self.takes_s(1):
            return self.most
        sizes = range(self.most, 1, -1)
        return next((size for size in sizes if self.takes_s(size) <= left_s), 1)

    def took(self, size: int, seconds: float) -> None:
        before = self._expected_s.get(size, seconds)
        self._expected_s[size] = before + SMOOTHING * (seconds - before)

    def takes_s(self, size: int) -> float:
        return self._expected_s.get(size, size * self._expected_s.get(1, 0.0))


@dataclass(frozen=True, eq=False)
class _Call:
    due: Due
    batch: "Batch[Any, Any]"
    item: Any
    result: "Future[Any]"


class ComputeThread:
    """Runs one call after the other; one that runs is never interrupted.

    A call is over for whoever waits for it when its results are; a device may still be making
    them. It is asked for one call's more meanwhile, so that it never stands still, and no further:
    what is asked for cannot be put back behind what is more urgent. What is due is so in seconds
    of `clock`.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: list[_Call] = []  # in the order in which they came
        self._lock = Lock()
        self._clock = clock
        self._on_device: tuple[Batch[Any, Any], int, Finish] | None = None

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def run(
        self, due: Due, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[R]:
        """Have `function` run, alone."""
        call = partial(function, *args, **kwargs)
        return self.join(due, Batch(lambda _: [call()]), None)

    def join(self, due: Due, batch: Batch[T, R], item: T) -> asyncio.Future[R]:
        """Have `batch` called with `item`, and with others that wait for it."""
        result: Future[R] = Future()
        with self._lock:
            self._waiting.append(_Call(due, batch, item, result))
        self._thread.submit(self._run_next)  # as often as there are calls, whichever comes first
        return asyncio.wrap_future(result)

    def close(self) -> None:
        """Wait for the call that runs; those that wait are cancelled. Idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for call in waiting:
            call.result.cancel()
        self._thread.shutdown()

    def _run_next(self) -> None:
        calls = [each for each in self._taken() if each.result.set_running_or_notify_cancel()]
        if calls:
            self._run(calls)

    def _taken(self) -> list[_Call]:
        """The most urgent call, and those right after it that may be made with it."""
        with self._lock:
            if not self._waiting:  # it was taken along
                return []
            now = self._clock()
            takes_s = max(call.batch.takes_s(1) for call in self._waiting)
            key = urgency([call.due for call in self._waiting], now, takes_s)
            first, *others = sorted(self._waiting, key=lambda call: key(call.due))
            most = first.batch.allowed(first.due.at - now)
            alike = takewhile(lambda call: call.batch is first.batch, others)
            taken = [first, *islice(alike, most - 1)]
            self._waiting = [call for call in self._waiting if call not in taken]
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
        if (finish := batch.unfinished(results)) is None:
            batch.took(len(calls), self._clock() - started)
        for call, result in zip(calls, results, strict=True):
            call.result.set_result(result)
        before, self._on_device = self._on_device, finish and (batch, len(calls), finish)
        if before is not None:
            self._await_device(*before)

    def _await_device(self, batch: Batch[Any, Any], size: int, finish: Finish) -> None:
        try:
            batch.took(size, finish())
        except Exception as error:  # noqa: BLE001  # who waits for the results is told, too
            log.warning("device_failed", error=str(error))
