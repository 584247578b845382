"""When each stage computed, seen from outside: from the metrics that it exports anyway."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from bench.stats import Interval

METRIC = "avatar_stage_seconds"
POLL_S = 0.005
"""Precision of the intervals; a chunk takes twenty times as long."""


class StageTrace:
    """Follows the running sums of `avatar_stage_seconds` in the processes' shared files.

    A sum that has grown by d at the time t: the stage computed from t - d to t.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.intervals: dict[str, list[Interval]] = {}
        self._files = [
            MmapedDict(str(path), read_mode=True) for path in folder.glob("histogram_*.db")
        ]
        self._sums: dict[tuple[int, str], float] = {}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow until the block ends; once only."""
        stopped = threading.Event()
        self.forget()
        thread = threading.Thread(target=self._follow, args=(stopped,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            self.close()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def forget(self) -> None:
        """What was computed before is no news."""
        self.poll()
        self.intervals = {}

    def poll(self) -> None:
        """Note what has been computed since the last time."""
        for index, file in enumerate(self._files):
            for key, value, _ in file.read_all_values():
                if f'"{METRIC}_sum"' in key:
                    self._note(index, key, value)

    def _follow(self, stopped: threading.Event) -> None:
        while not stopped.wait(POLL_S):
            self.poll()

    def _note(self, index: int, key: str, value: float) -> None:
        before = self._sums.get((index, key), 0.0)
        if value > before:
            self._sums[index, key] = value
            now = self._clock()
            stage = json.loads(key)[2]["stage"]
            self.intervals.setdefault(stage, []).append((now - (value - before), now))


def stage_means(text: str) -> dict[str, dict[str, float]]:
    """Mean milliseconds of compute, wait and send in each stage, from a /metrics page."""
    sums: dict[tuple[str, str], float] = {}
    counts: dict[tuple[str, str], float] = {}
    kinds = {METRIC: "compute", "avatar_stage_wait_seconds": "wait"}
    kinds["avatar_stage_send_seconds"] = "send"
    for family in text_string_to_metric_families(text):
        if kind := kinds.get(family.name):
            for sample in family.samples:
                key = (sample.labels["stage"], kind)
                if sample.name.endswith("_sum"):
                    sums[key] = sums.get(key, 0.0) + sample.value
                elif sample.name.endswith("_count"):
                    counts[key] = counts.get(key, 0.0) + sample.value
    means: dict[str, dict[str, float]] = {}
    for (stage, kind), total in sums.items():
        if counts.get((stage, kind)):
            means.setdefault(stage, {})[kind] = 1000 * total / counts[stage, kind]
    return means
