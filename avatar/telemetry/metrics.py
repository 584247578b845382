"""Prometheus histograms and gauges of the latency budget; labels name a stage, never a session."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.48, 0.75, 1.0, 2.5, 5.0, 10.0)
"""Bucket edges, in seconds; 0.48 is one chunk of the default avatar."""

stage_seconds = Histogram(
    "avatar_stage_seconds",
    "One chunk's computation in a stage, from the step's start to its end, in seconds.",
    ["stage"],
    buckets=SECONDS,
)
stage_batch = Histogram(
    "avatar_stage_batch",
    "Chunks of how many sessions a stage computed together.",
    ["stage"],
    buckets=(1, 2, 3, 4, 8, 16),
)
stage_wait_seconds = Histogram(
    "avatar_stage_wait_seconds",
    "From a chunk's arrival in a stage until its computation begins, in seconds.",
    ["stage"],
    buckets=SECONDS,
)
stage_send_seconds = Histogram(
    "avatar_stage_send_seconds",
    "From a computed chunk until the next stage's credit let it go, in seconds.",
    ["stage"],
    buckets=SECONDS,
)
stage_dropped_total = Counter(
    "avatar_stage_dropped_total", "Chunks not computed or not passed on.", ["stage", "cause"]
)
commit_failures_total = Counter(
    "avatar_commit_failures_total", "Chunks that could not be written to the ledger.", ["stage"]
)
sessions = Gauge(
    "avatar_sessions", "Sessions attached to a stage now.", ["stage"], multiprocess_mode="livesum"
)
slots = Gauge(
    "avatar_slots",
    "Sessions at once that a stage's workers declare.",
    ["stage"],
    multiprocess_mode="livesum",
)
chunk_cost_seconds = Gauge(
    "avatar_chunk_cost_seconds",
    "What one session's chunk costs, as a worker of the stage measured it at its start.",
    ["stage"],
    multiprocess_mode="livemax",
)
waiting = Gauge("avatar_waiting", "Callers who wait for a free slot.", multiprocess_mode="livesum")
first_chunk_seconds = Histogram(
    "avatar_first_chunk_seconds",
    "From a complete request to the first chunk of video out of the graph, in seconds.",
    ["request"],
    buckets=(0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0),
)
turn_stage_seconds = Histogram(
    "avatar_turn_stage_seconds",
    "From the end of a caller's speech to the first sound of the answer, by stage, in seconds.",
    ["stage"],
    buckets=SECONDS,
)
stalls_total = Counter(
    "avatar_stalls_total", "Times at which a call stood still because a chunk was late."
)
ladder_steps_total = Counter(
    "avatar_ladder_steps_total",
    "Calls that went to still pictures under overload, or came back to moving ones.",
    ["rung"],
)
pictures_encoded_total = Counter(
    "avatar_pictures_encoded_total",
    "Pictures encoded by the gateway: once, however many watch a call.",
    ["codec"],
)
viewers = Gauge("avatar_viewers", "Connections that watch a call.", multiprocess_mode="livesum")
interruptions_total = Counter("avatar_interruptions_total", "Answers that were cut off.")
requests_total = Counter("avatar_requests_total", "Finished requests.", ["request", "outcome"])


def exposition(folder: str = "") -> bytes:
    """Our metrics as Prometheus reads them; with `folder`, those of every process that shares it.

    Processes share PROMETHEUS_MULTIPROC_DIR if it was set before this module was imported.
    """
    ours: Collector = REGISTRY
    if folder:
        _forget_the_killed(Path(folder))
        # Ray's own processes write there too; only names of ours are passed on
        ours = MultiProcessCollector(CollectorRegistry(), path=folder)
    families = CollectorRegistry()
    families.register(_Ours(ours))
    return generate_latest(families)


def _forget_the_killed(folder: Path) -> None:
    """Whatever a killed process had at the moment, such as sessions, it has no more."""
    if not Path("/proc/self").exists():
        return
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if not Path("/proc", pid).exists():
            file.unlink(missing_ok=True)


class _Ours(Collector):
    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        return (family for family in self._source.collect() if family.name.startswith("avatar_"))
