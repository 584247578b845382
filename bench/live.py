"""What the benchmarks of the live call share: a graph, its processes, and figures of a call."""

import asyncio
import os
import signal
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # has no types
from numpy.typing import NDArray

from bench.processes import name_of
from bench.receiver_tracks import Track
from bench.server import Server
from bench.stats import spread

Told = dict[str, Any]


def process_named(server: Server, name: str) -> psutil.Process:
    """The graph's process of this name, as `bench.processes` calls it.

    Raises:
        LookupError: There is none.
    """
    for process in server.processes():
        if name_of(process.cmdline() or [process.name()]) == name:
            return process
    raise LookupError(f"the graph has no process {name}")


async def stop_for(process: psutil.Process, seconds: float) -> None:
    """Have a process stand still, as when the machine gives its core to somebody else."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(process.pid, signal.SIGCONT)


def punctual_s(*tracks: Track[Any]) -> float:
    """Monotonic instant less due instant of the most punctual packet: what turns one into the
    other, with the network's shortest delay in it.
    """
    return min(float(track.lateness_s().min()) for track in tracks)


def lateness_ms(*tracks: Track[Any]) -> list[dict[str, float]]:
    """How much later than the most punctual packet of all tracks each one's arrived."""
    punctual = punctual_s(*tracks)
    return [spread((track.lateness_s() - punctual).tolist(), 1000) for track in tracks]


def absolute(values: NDArray[np.float64]) -> dict[str, float]:
    return spread(np.abs(values).tolist())
