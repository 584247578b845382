"""Two processes with half of the model each compute what one does with all of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from avatar.models.dit import DiT
from tests.fakes.scale import in_processes, loaded, telling_weights, write_toy_clips
from tests.fakes.scale_work import (
    RUNS,
    WAYS,
    drawn,
    gradients,
    resumed,
    student,
    task_of,
    trained,
    way_loss,
)
from training.recipes.tm_18b import toy
from training.scale.checkpoint import finished

pytestmark = pytest.mark.unit

TOLERANCE = 1e-5


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two of them wait for each other longer than such small networks take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, weights, and what two processes made of them."""
    folder = tmp_path_factory.mktemp("sharded")
    shards = write_toy_clips(folder)
    weights = telling_weights(folder / "weights.safetensors")
    in_processes(2, gradients, folder, shards, weights)
    return folder


def whole_model(folder: Path) -> DiT:
    return loaded(DiT(toy().model), folder / "weights.safetensors")


def seen(path: Path) -> tuple[dict[str, Tensor], float]:
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["values"])["loss"]


def differences(found: dict[str, Tensor], model: torch.nn.Module) -> dict[str, float]:
    """Largest difference of each gradient over the largest of the gradient itself, or 1."""
    own = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert own.keys() == found.keys()
    return {
        name: float((found[name] - grad).abs().max() / grad.abs().max().clamp(min=1.0))
        for name, grad in own.items()
    }


@pytest.mark.parametrize("way", WAYS)
def test_loss_and_gradients_are_those_of_one_process(folder: Path, way: str) -> None:
    model = whole_model(folder)
    loss = way_loss(way, model, *drawn(folder / "shards"))
    loss.backward()
    found, mean = seen(folder / f"{way}.safetensors")
    assert abs(mean - loss.item()) <= TOLERANCE
    assert max(differences(found, model).values()) <= TOLERANCE
    # every branch took part: speech, text, image and the deepest block
    for name in ("audio_projection.proj1", "text_embedder.linear_1", "image_embedder.norm1"):
        assert any(name in key and grad.abs().max() > 1e-6 for key, grad in found.items()), name


@pytest.mark.parametrize("step", [0, 1], ids=["student", "critic"])
def test_distillation_through_the_cache_is_that_of_one_process(folder: Path, step: int) -> None:
    networks = [whole_model(folder) for _ in range(3)]
    task = student(folder / "weights.safetensors", folder / "shards", networks)
    torch.manual_seed(step)
    loss, _ = task.loss(step, np.random.default_rng(step))
    loss.backward()
    found, mean = seen(folder / f"student-{step}.safetensors")
    assert abs(mean - loss.item()) <= TOLERANCE
    assert max(differences(found, task.model).values()) <= TOLERANCE
    part = "critic." if step else "student."
    assert all(name.startswith(part) for name in found)


@pytest.fixture(scope="module")
def runs(folder: Path) -> Path:
    """The same, and what two processes trained, stopped or not."""
    in_processes(2, resumed, folder, folder / "shards", folder / "weights.safetensors")
    return folder


MOVED = {
    "whole": "blocks.0.ffn.net.2.weight",
    "adapters": "blocks.0.ffn.net.2.lora_B.weight",
    "student": "critic.blocks.0.ffn.net.2.weight",
}


@pytest.mark.parametrize("run", RUNS)
def test_a_resumed_run_goes_on_as_if_nothing_had_happened(runs: Path, run: str) -> None:
    names = (f"{run}-at-once", f"{run}-in-two")
    at_once, in_two = (load_file(runs / f"{name}.safetensors") for name in names)
    assert at_once.keys() == in_two.keys()
    assert all(torch.equal(at_once[name], in_two[name]) for name in at_once)
    began = task_of(run, runs / "shards", runs / "weights.safetensors").model.state_dict()
    assert not torch.equal(at_once[MOVED[run]], began[MOVED[run]])
    steps = ["step-00000002", "step-00000004"]
    assert [path.name for path in finished(runs / f"{run}-in-two")] == steps


@pytest.mark.parametrize("run", RUNS)
def test_what_two_processes_saved_one_goes_on_from(runs: Path, run: str) -> None:
    """Nothing is left to do, so it has what they had."""
    in_two = load_file(runs / f"{run}-in-two.safetensors")
    task = task_of(run, runs / "shards", runs / "weights.safetensors")
    average = trained(task, runs / f"{run}-in-two", run)
    assert all(torch.equal(each, in_two[name]) for name, each in task.model.state_dict().items())
    assert all(torch.equal(each, in_two[f"average.{name}"]) for name, each in average.items())
