"""What one more call adds to each process of the graph, and how fast sessions are opened."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]  # has no types

from avatar.media import STAGES
from bench.machine import say
from bench.processes import Snapshot, cores, snapshot
from bench.receiver import Receiver, booked
from bench.results import Values
from bench.server import Server
from bench.viewers import talk

SIZES = (0, 1, 2)
OPENS = 20
SETTLE_S = 4.0


async def measure_graph(window_s: float) -> Values:
    """With as many calls as a server of two slots takes; each speaks all the time."""
    windows: list[tuple[Snapshot, Snapshot]] = []
    with Server({"SLOTS": str(max(SIZES))}) as server:
        async with AsyncExitStack() as stack:
            for size in SIZES:
                if size:
                    receiver = Receiver(lambda frame: None)
                    booking = await stack.enter_async_context(booked(server.url, "mira"))
                    call = await stack.enter_async_context(receiver.connected(booking))
                    talking = asyncio.create_task(talk(call))
                    stack.callback(talking.cancel)
                    await call.event("avatar.playback.started")
                say(f"sessions: {size} calls")
                await asyncio.sleep(SETTLE_S)
                family = psutil.Process(server.pid).children(recursive=True)
                before = snapshot(family)
                await asyncio.sleep(window_s)
                windows.append((before, snapshot(family)))
        opens_per_s = await opening(server.url)
    return {
        "sizes": ", ".join(map(str, SIZES[1:])),
        "processes": [row(name, windows) for name in STAGES],
        "opens_per_s": opens_per_s,
    }


def row(name: str, windows: list[tuple[Snapshot, Snapshot]]) -> dict[str, Any]:
    """Slopes of the straight lines through what each number of calls took."""
    used = [cores(*each)[name] for each in windows]
    megabytes = [after.by_name[name].uss_mb for _, after in windows]
    return {
        "process": name,
        "cores": float(np.polyfit(SIZES, used, 1)[0]),
        "mb": float(np.polyfit(SIZES, megabytes, 1)[0]),
    }


async def opening(url: str) -> float:
    """Sessions a second that are opened and ended, nobody connects to them."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        began = time.perf_counter()
        for _ in range(OPENS):
            answer = await http.post("/v1/sessions")
            answer.raise_for_status()
            created = answer.json()
            headers = {"authorization": f"Bearer {created['token']}"}
            ended = await http.delete(f"/v1/sessions/{created['id']}", headers=headers)
            ended.raise_for_status()
        return OPENS / (time.perf_counter() - began)
