"""What the benchmark of sessions makes of what was measured."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench import sessions
from bench.processes import Snapshot, Usage
from bench.sessions_graph import row

pytestmark = pytest.mark.unit


@dataclass
class State:
    caches: tuple[tuple[torch.Tensor, ...], ...]
    motion: NDArray[np.float64]
    name: str = "a session"


def test_what_a_session_keeps_is_counted_once() -> None:
    whole = torch.zeros(1000, dtype=torch.float32)
    state = State(((whole, whole[:10]), (torch.zeros(250),)), np.zeros(125, np.float64))
    assert sessions.kept_kb(state) == pytest.approx(4 + 1 + 1)


def window(cpu_s: float, megabytes: float) -> tuple[Snapshot, Snapshot]:
    nothing = Usage(1.0, 0.0, 0.0, 0.0)
    later = Usage(1.0 + cpu_s, megabytes, 0.0, 0.0)
    return Snapshot(0.0, {"gateway": nothing}), Snapshot(10.0, {"gateway": later})


def test_one_more_call_is_the_slope() -> None:
    told = row("gateway", [window(0.5, 100), window(2.0, 110), window(3.5, 120)])
    assert told["cores"] == pytest.approx(0.15)
    assert told["mb"] == pytest.approx(10)


def test_the_report_says_what_a_batch_saves() -> None:
    rows = [
        {"backend": "torch", "batch": size, "median": ms, "least": ms}
        for size, ms in ((1, 40.0), (2, 30.0))
    ]
    told = sessions.report(
        {
            "chunk_ms": 480.0,
            "score": rows,
            "decode": rows[:1],
            "kinds": [{"backend": "torch", "kind": "light", "median": 20.0, "least": 19.0}],
            "memory_kb": {"score_worker": 8000.0, "vae_decoder": 3000.0},
            "graph": {
                "sizes": "1, 2",
                "processes": [{"process": "gateway", "cores": 0.3, "mb": 5.0}],
                "opens_per_s": 7.0,
            },
        }
    )
    assert "| score worker | torch | 2 | 30 | 30 | 16 | -25% |" in told
    assert "**NO**" in told  # the gateway takes more than a quarter
