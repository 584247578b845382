"""The pure parts of the other benchmarks."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.__main__ import BENCHMARKS, question_of
from bench.contact import telling_frames
from bench.machine import command_line, cpu_of
from bench.stages import ForwardTimes, Stopwatch

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_asks_a_question_measures_and_reports(name: str) -> None:
    module = import_module(f"bench.{name}")
    assert "?" in question_of(module)
    assert callable(module.measure)
    assert callable(module.report)


def test_the_cpu_is_read_from_cpuinfo(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: avx2 avx512_vnni\n\n")
    assert cpu_of(path) == ("Some CPU", {"avx2", "avx512_vnni"})
    assert cpu_of(tmp_path / "missing") == ("", set())


def test_the_command_is_told_as_one_would_repeat_it() -> None:
    assert command_line([]) == "make bench"
    assert command_line(["--only", "hops"]) == "python -m bench --only hops"


def test_every_forward_of_a_chunk_has_a_name() -> None:
    watch, model = Stopwatch(), nn.Linear(2, 2)
    forwards = ForwardTimes(model, watch, "forward")
    for _ in range(3):
        forwards.next_chunk()
        model(torch.zeros(1, 2))
        model(torch.zeros(1, 2))
    assert {name: len(times) for name, times in watch.wall.items()} == {
        "forward_1": 3,
        "forward_2": 3,
    }


def test_warming_up_does_not_count() -> None:
    watch = Stopwatch()
    for seconds in (9.0, 1.0, 3.0):
        watch.add("vae", seconds, seconds / 2)
    told = watch.told(warm_up=1)["vae"]
    assert (told["median"], told["cpu"], told["count"]) == (2000, 1000, 2)


def test_telling_frames_are_open_and_shut_by_turns() -> None:
    opening = np.tile(np.array([0.5, 1.0, 0.0, 0.5], np.float32), 4)
    assert telling_frames(opening, 4) == [1, 6, 9, 14]
