"""CPU time and memory of every process of the graph."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # has no types


@dataclass(frozen=True)
class Usage:
    """Of one process: seconds on a core so far; megabytes of its own, resident, and its share."""

    cpu_s: float
    uss_mb: float
    rss_mb: float
    pss_mb: float


@dataclass(frozen=True)
class Snapshot:
    """`at_s` is of a monotonic clock; `by_name` sums processes of the same name."""

    at_s: float
    by_name: dict[str, Usage]


def snapshot(processes: Sequence[psutil.Process]) -> Snapshot:
    found: dict[str, Usage] = {}
    for process in processes:
        try:
            with process.oneshot():
                name = name_of(process.cmdline() or [process.name()])
                times, memory = process.cpu_times(), process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        before = found.get(name, Usage(0.0, 0.0, 0.0, 0.0))
        found[name] = Usage(
            before.cpu_s + times.user + times.system,
            before.uss_mb + memory.uss / 1e6,
            before.rss_mb + memory.rss / 1e6,
            before.pss_mb + memory.pss / 1e6,
        )
    return Snapshot(time.monotonic(), found)


def cores(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """Cores used by each name between two snapshots."""
    elapsed_s = after.at_s - before.at_s
    nothing = Usage(0.0, 0.0, 0.0, 0.0)
    return {
        name: max(0.0, usage.cpu_s - before.by_name.get(name, nothing).cpu_s) / elapsed_s
        for name, usage in after.by_name.items()
    }


RAY = {
    "ray::ServeController": "Ray Serve: controller",
    "ray::ProxyActor": "Ray Serve: proxy",
    "ray::DashboardAgent": "Ray: agent",
    "ray::RuntimeEnvAgent": "Ray: environments agent",
    "ray::IDLE": "Ray: idle workers",
    "ray::": "Ray: other workers",
    "gcs_server": "Ray: control store",
    "raylet": "Ray: raylet",
    "log_monitor.py": "Ray: log monitor",
    "monitor.py": "Ray: autoscaler monitor",
    "dashboard.py": "Ray: dashboard",
}


def name_of(command: Sequence[str]) -> str:
    """What a process of the graph is, by its command line."""
    line = " ".join(command)
    if replica := re.search(r"ray::ServeReplica:\w+:(\w+)", line):
        return replica[1]
    if "services.run" in line:
        return "launcher"
    if "valkey-server" in line:
        return "Valkey"
    for part, name in RAY.items():
        if part in line:
            return name
    return command[0].rsplit("/", 1)[-1] if command else "?"
