"""Devices and attention kernels by name: what is not there is refused with what would help."""

import numpy as np
import pytest
import torch

from avatar.backends import Attention
from avatar.backends.device import Lane, check_attention, choose_device
from avatar.errors import Unavailable

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
        landing = lane.send([taken * 2])
    assert landing.wait()[0].tolist() == [[0, 2, 4], [6, 8, 10]]


def test_in_half_precision_products_are_halved_and_sums_are_not() -> None:
    half = torch.nn.Linear(8, 8, dtype=torch.bfloat16).requires_grad_(False)
    with Lane(CPU, torch.bfloat16).open():
        assert half(torch.zeros(1, 8)).dtype == torch.bfloat16
        assert (torch.zeros(8) + half(torch.zeros(1, 8))).dtype == torch.float32
