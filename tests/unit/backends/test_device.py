"""Devices and attention kernels by name: what is not there is refused with what would help."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from avatar.backends import Attention
from avatar.backends import device as device_module
from avatar.backends.device import (
    Joined,
    Landing,
    Lane,
    check_attention,
    choose_device,
    joined,
)
from avatar.errors import Unavailable
from avatar.media import on_host

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu() -> None:
    assert choose_device("auto") == choose_device("cpu") == CPU


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("wish", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(wish: str) -> None:
    with pytest.raises(Unavailable, match=r"no CUDA GPU here; use auto or cpu"):
        choose_device(wish)


@pytest.mark.usefixtures("two_gpus")
def test_gpus_are_chosen_by_their_number() -> None:
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(Unavailable, match=r"has cuda:0 to cuda:1"):
        choose_device("cuda:2")


@pytest.mark.parametrize("wish", ["gpu", "mps", "cuda:x", ""])
def test_what_is_no_device_is_refused(wish: str) -> None:
    with pytest.raises(Unavailable, match="device"):
        choose_device(wish)


@pytest.mark.parametrize("name", ["cudnn", "efficient"])
def test_a_kernel_of_gpus_is_refused_on_the_cpu(name: Attention) -> None:
    with pytest.raises(Unavailable, match=rf"ATTENTION={name} cannot run on cpu.*ATTENTION=auto"):
        check_attention(name, CPU)


@pytest.mark.parametrize("name", ["auto", "math"])
def test_a_kernel_that_runs_is_taken(name: Attention) -> None:
    check_attention(name, CPU)


def test_a_lane_of_the_cpu_computes_at_once_and_keeps_numbers() -> None:
    lane, given = Lane(CPU), np.arange(6, dtype=np.float32).reshape(2, 3)
    with lane.open():
        taken = lane.take(given)
        given += 1  # whoever gave it may go on
        sent = lane.send(taken * 2)
    assert isinstance(sent, np.ndarray)
    assert sent.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_in_half_precision_products_are_halved_and_sums_are_not() -> None:
    half = torch.nn.Linear(8, 8, dtype=torch.bfloat16).requires_grad_(False)
    with Lane(CPU, torch.bfloat16).open():
        assert half(torch.zeros(1, 8)).dtype == torch.bfloat16
        assert (torch.zeros(8) + half(torch.zeros(1, 8))).dtype == torch.float32


@dataclass
class Moment:
    """Of a stream; what waits for it on the host says so."""

    log: list[str]

    def synchronize(self) -> None:
        self.log.append("host waits")


@dataclass
class Stream:
    """A CUDA stream that notes what it is told; everything is at once."""

    name: str
    log: list[str]

    def wait_event(self, event: Moment) -> None:
        self.log.append(f"{self.name} waits")


@dataclass
class OnDevice:
    """A tensor of a device that this machine does not have."""

    device: torch.device
    log: list[str]
    shape: tuple[int, ...] = (2, 3)

    def record_stream(self, stream: Stream) -> None:
        self.log.append(f"memory kept for {stream.name}")

    def to(self, device: torch.device, *, non_blocking: bool) -> "OnDevice":
        assert non_blocking
        self.log.append(f"to {device}")
        return replace(self, device=device)


@pytest.mark.parametrize("number", [0, 1])
def test_a_lane_takes_what_another_makes_without_the_host(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order only: there is no GPU here, tests/gpu compares numbers."""
    log: list[str] = []
    streams = iter([Stream("work", log), Stream("copies", log)])
    made = OnDevice(torch.device("cuda", number), log)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: next(streams))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(f"of {device}", log))
    monkeypatch.setattr(device_module, "_marked", lambda stream, timed=False: Moment(log))
    moment: Any = Moment(log)
    landing = Landing(cast(Any, made), cast(Any, made), None, moment, moment)
    lane = Lane(torch.device("cuda", 0))
    assert lane.take(landing).device == torch.device("cuda", 0)
    reader = "work" if number == 0 else "of cuda:1"  # copies run where the tensor is
    assert log == [f"{reader} waits", f"memory kept for {reader}", "to cuda:0"]


def test_a_lane_of_the_cpu_takes_what_has_landed() -> None:
    log: list[str] = []
    moment: Any = Moment(log)
    landing = Landing(torch.full((2,), torch.nan), torch.ones(2), None, moment, moment)
    assert Lane(CPU).take(landing).tolist() == [1, 1]
    assert log == ["host waits"]


def test_parts_that_land_are_one_array() -> None:
    parts = [Landing(each, each, None, None, None) for each in torch.arange(6.0).reshape(3, 1, 2)]
    whole = joined(parts)
    assert isinstance(whole, Joined)
    assert whole.shape == (3, 2)
    assert whole.wait().tolist() == [[0, 1], [2, 3], [4, 5]]
    assert on_host(joined([np.zeros((1, 2)), np.ones((1, 2))])).tolist() == [[0, 0], [1, 1]]
