"""What processes of a sharded training compute in tests; module-level, so that they find it."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from avatar.models.dit import DiT
from tests.fakes.scale import batches, loaded, note, whole, whole_gradients
from training.recipes.tm_18b import toy
from training.scale.load import sharded_model
from training.scale.lora import add_lora
from training.scale.shard import mesh_of_all
from training.scale.tasks import CausalTask, StudentTask, velocity_loss
from training.scale.trainer import Pace, fit
from training.tasks.batch import Stretch
from training.tasks.dit import denoise_chunks
from training.tasks.teacher import denoise_stretch
from training.trainer import Task

WAYS = ("flow", "causal")


def row(stretch: Stretch, index: int) -> Stretch:
    """One stretch of a batch."""
    fields = vars(stretch)
    return Stretch(
        **{
            k: v if k in ("importance", "boxes") else v[index : index + 1]
            for k, v in fields.items()
        }
    )


def way_loss(way: str, model: DiT, stretch: Stretch, noise: Tensor, sigma: Tensor) -> Tensor:
    recipe = toy()
    noisy = stretch.clean + sigma[:, None, None, None, None] * (noise - stretch.clean)
    if way == "flow":
        ones = torch.ones_like(sigma)
        prediction = denoise_stretch(model, stretch, noisy, sigma, recipe.policy, ones)
    else:
        known = torch.ones(len(sigma), 3, dtype=torch.bool)
        prediction = denoise_chunks(model, stretch, noisy, sigma, recipe.policy, known)
    return velocity_loss(prediction, noise - stretch.clean, stretch, model)


def drawn(shards: Path) -> tuple[Stretch, Tensor, Tensor]:
    """A batch of two, its noise and levels."""
    stretch = batches(shards, toy().stage("causal"), 2).draw(np.random.default_rng(1))
    g = torch.Generator().manual_seed(5)
    return stretch, torch.randn(stretch.clean.shape, generator=g), torch.tensor([0.5, 0.9])


def student(weights: Path, shards: Path, networks: list[DiT]) -> StudentTask:
    own, critic, teacher = (loaded(model, weights) for model in networks)
    with torch.no_grad():  # else critic and teacher agree, and nothing is matched
        for parameter in critic.parameters():
            parameter.mul_(0.9)
    stage = toy().stage("student")
    weighed = dataclasses.replace(stage.distillation, generated=0.5)
    return StudentTask(own, critic, teacher, batches(shards, stage), weighed)


def gradients(rank: int, folder: Path, shards: Path, weights: Path) -> None:
    """Each process takes one of two rows; of the student both take the same."""
    mesh, config = mesh_of_all(), toy().model
    stretch, noise, sigma = drawn(shards)
    mine = slice(rank, rank + 1)
    for way in WAYS:
        model = loaded(sharded_model(config, mesh), weights)
        loss = way_loss(way, model, row(stretch, rank), noise[mine], sigma[mine])
        loss.backward()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        found = whole_gradients(model)
        if rank == 0:
            note(folder / f"{way}.safetensors", found, loss=float(mean) / 2)
    task = student(weights, shards, [sharded_model(config, mesh) for _ in range(3)])
    for step in (0, 1):  # the student's, the critic's
        torch.manual_seed(step)
        task.model.zero_grad()
        loss, _ = task.loss(step, np.random.default_rng(step))
        loss.backward()
        found = whole_gradients(task.model)
        if rank == 0:
            note(folder / f"student-{step}.safetensors", found, loss=float(loss))


PACE = Pace(save_every=2, log_every=4, accumulate=2)
RUNS = ("whole", "adapters", "student")
"""What is trained: all weights, adapters beside them, or a student and its critic."""


def task_of(run: str, shards: Path, weights: Path, mesh: DeviceMesh | None = None) -> Task:
    """Its networks sharded over `mesh`, or whole in this process."""

    def network(lora: tuple[int, float] | None = None) -> DiT:
        if mesh is not None:
            return sharded_model(toy().model, mesh, weights=weights, lora=lora)
        model = loaded(DiT(toy().model), weights)
        return model if lora is None else add_lora(model, *lora)

    if run == "student":
        return student(weights, shards, [network() for _ in range(3)])
    model = network(toy().lora if run == "adapters" else None)
    return CausalTask(model, batches(shards, toy().stage("causal")))


def trained(task: Task, folder: Path, run: str, stop: int | None = None) -> dict[str, Tensor]:
    """The moving average, once it has gone on to step `stop`, or to the end."""
    schedule = toy().stage("causal").schedule
    rates = {"critic": 0.2} if run == "student" else {}
    return fit(task, schedule, PACE, folder, rates=rates, stop_after=stop)


def resumed(rank: int, folder: Path, shards: Path, weights: Path) -> None:
    """Four steps at once, and two and two; what came of both, weights and their average."""
    mesh = mesh_of_all()
    for run in RUNS:
        trained(task_of(run, shards, weights, mesh), folder / f"{run}-in-two", run, 2)
        for name in (f"{run}-at-once", f"{run}-in-two"):
            task = task_of(run, shards, weights, mesh)
            average = trained(task, folder / name, run)
            state = {key: whole(each) for key, each in task.model.state_dict().items()}
            state |= {f"average.{key}": whole(each) for key, each in average.items()}
            if rank == 0:
                note(folder / f"{name}.safetensors", state)
