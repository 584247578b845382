"""Does anything pile up when calls are opened, talked in and closed, one after the other?"""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # has no types
from redis import Redis

from avatar.bus.valkey import valkey_server
from bench.live import Told
from bench.machine import say
from bench.options import Options
from bench.processes import name_of
from bench.receiver import Receiver, booked
from bench.results import Values, bars, table
from bench.server import Server

WARM = 10
"""Cycles after which caches and pools are filled: growth is counted from here on."""
MEMORY_BAR_MB = 0.5
"""A cycle: a leaked session is at least its video queue, 2 MB."""
SETTLE_S = 2.0
KEYS_S = 10.0
"""Leases of a closed session run out within this, should one not have been released."""


def measure(options: Options) -> Values:
    with valkey_server() as valkey, Server({"REDIS_URL": valkey.url}) as server:
        return asyncio.run(cycles(server, valkey.url, options.repetitions(50, 4)))


async def cycles(server: Server, redis_url: str, count: int) -> Values:
    redis = Redis.from_url(redis_url, decode_responses=True)
    at_first = sorted(redis.keys())
    counts: list[dict[str, Told]] = []
    for number in range(count):
        await one_cycle(server.url)
        await asyncio.sleep(SETTLE_S)
        counts.append(counted(server))
        memory = {name: round(told["rss_mb"]) for name, told in counts[-1].items()}
        say(f"live_soak: {number + 1}: {memory}")
    await asyncio.sleep(KEYS_S)
    at_last = sorted(redis.keys())
    redis.close()
    return {
        "cycles": counts,
        "keys_before": len(at_first),
        "keys_after": len(at_last),
        "keys_left": [str(key) for key in at_last if key not in at_first],
    }


async def one_cycle(url: str) -> None:
    receiver = Receiver(lambda frame: None)
    async with booked(url) as booking, receiver.connected(booking) as call:
        call.say("Hello there.")
        await call.event("avatar.playback.finished")


def counted(server: Server) -> dict[str, Told]:
    """Memory, descriptors and threads of each process of ours."""
    found = {}
    for process in server.processes():
        try:
            name = name_of(process.cmdline() or [process.name()])
            if name.startswith(("Ray", "launcher", "raylet")):
                continue
            found[name] = {
                "rss_mb": process.memory_info().rss / 1e6,
                "descriptors": process.num_fds(),
                "threads": our_threads(process.pid),
            }
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def our_threads(pid: int) -> int:
    """Without gRPC's pool, which grows and shrinks by itself."""
    names = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm"))
    return sum(not name.startswith(("event_engine", "grpc")) for name in names)


def growth(values: Values, name: str, what: str) -> float:
    """A cycle, after the first ones: slope of the straight line through them."""
    counts = [each[name][what] for each in values["cycles"] if name in each]
    counts = counts[min(WARM, len(counts) // 2) :]
    return float(np.polyfit(np.arange(len(counts)), counts, 1)[0]) if len(counts) > 1 else 0.0


def report(values: Values) -> str:
    names: Sequence[str] = sorted(values["cycles"][-1])
    worst = {
        what: max(growth(values, name, what) for name in names)
        for what in ("rss_mb", "descriptors", "threads")
    }
    keys = values["keys_after"] - values["keys_before"]
    rows = [
        (name, *itertools.chain(*(ends(values, name, what) for what in worst))) for name in names
    ]
    return "\n".join(
        [
            bars(
                [
                    ("memory, fastest growing process, MB a cycle", worst["rss_mb"],
                     f"≤ {MEMORY_BAR_MB}", worst["rss_mb"] <= MEMORY_BAR_MB),
                    ("descriptors a cycle", worst["descriptors"], "≤ 0.1",
                     worst["descriptors"] <= 0.1),
                    ("threads a cycle", worst["threads"], "≤ 0.1", worst["threads"] <= 0.1),
                    ("keys left in Redis", keys, "0", keys == 0),
                ]
            ),
            f"{len(values['cycles'])} times: open, connect, say one sentence, hang up.\n",
            table(
                ["process", "MB after the first", "after the last", "descriptors, first", "last",
                 "threads, first", "last"],
                rows,
            ),
        ]
    )  # fmt: skip


def ends(values: Values, name: str, what: str) -> tuple[float, float]:
    cycles = values["cycles"]
    return cycles[0].get(name, cycles[-1][name])[what], cycles[-1][name][what]
