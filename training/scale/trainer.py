"""The training loop for sharded models, resumable to the step from sharded checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from avatar.telemetry.logging import get_logger
from training import parallel
from training.scale.checkpoint import load, save
from training.trainer import Schedule, Task

log = get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """`accumulate` batches make a step; the optimizer's moments may be kept of parts alone."""

    accumulate: int = 1
    save_every: int = 100
    log_every: int = 10
    average_from: int = 0
    """The first step of the moving average of the weights."""


def fit(
    task: Task,
    schedule: Schedule,
    pace: Pace,
    folder: Path,
    *,
    rates: dict[str, float] | None = None,
    together: int = 1,
    stop_after: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Tensor]:
    """Train to the end of the schedule, from the newest checkpoint in `folder` if there is one.

    The batches of step n are drawn from (seed, n, who draws), so a run that was stopped sees the
    same data as one that was not.

    Args:
        task: Its model is sharded, or whole in one process.
        schedule: Rates and steps.
        pace: How often to save, and what a step is.
        folder: Of the run's checkpoints.
        rates: Of parts of the model, by the first name of their parameters, over the schedule's
            rate (a critic's 0.2).
        together: So many neighbouring processes share a batch, each having some of its tokens.
        stop_after: Stop at this step, as an interruption would after saving.
        clock: In seconds, for the log alone.

    Returns:
        The moving average of the trained weights, sharded as they are.
    """
    optimizer = optimizer_of(task.model, schedule, rates or {})
    average = {
        name: each.detach().clone()
        for name, each in task.model.named_parameters()
        if each.requires_grad
    }
    first = load(folder, task.model, optimizer, average)
    last = min(schedule.steps, stop_after or schedule.steps)
    started = clock()
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step) * group["share"]
        figures = take_step(task, optimizer, schedule, pace, step, together)
        if step >= pace.average_from:
            follow(task.model, average, min(schedule.ema_decay, (step + 1) / (step + 20)))
        done = step + 1
        if done % pace.log_every == 0 or done == last:
            seconds = round((clock() - started) / (done - first), 3)
            told = {name: round(value, 5) for name, value in figures.items()}
            if parallel.rank() == 0:
                log.info(
                    "step", run=folder.name, step=done, of=schedule.steps,
                    seconds_a_step=seconds, **told,
                )  # fmt: skip
        if done % pace.save_every == 0 or done == last:
            save(folder, done, task.model, optimizer, average)
    return average


def optimizer_of(
    model: nn.Module, schedule: Schedule, rates: dict[str, float]
) -> torch.optim.AdamW:
    """AdamW over what is trained; each part of `rates` with its share of the schedule's rate."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = name.partition(".")[0]
            parts.setdefault(part if part in rates else "", []).append(parameter)
    groups = [
        {"params": parameters, "share": rates.get(part, 1.0)} for part, parameters in parts.items()
    ]
    return torch.optim.AdamW(
        groups,
        schedule.learning_rate,
        schedule.betas,
        weight_decay=schedule.weight_decay,
    )


def take_step(
    task: Task,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    pace: Pace,
    step: int,
    together: int = 1,
) -> dict[str, float]:
    """One step of the optimizer; means over its batches and over all processes."""
    rank, seen = parallel.rank() // together, dict[str, list[float]]()
    optimizer.zero_grad(set_to_none=True)
    for part in range(pace.accumulate):
        torch.manual_seed(schedule.seed * 1_000_003 + (step * pace.accumulate + part) * 8191 + rank)
        rng = np.random.default_rng((schedule.seed, step, part, rank))
        loss, figures = task.loss(step, rng)
        (loss / pace.accumulate).backward()
        for name, value in {"loss": loss.item(), **figures}.items():
            seen.setdefault(name, []).append(value)
    trained = [each for each in task.model.parameters() if each.grad is not None]
    norm = nn.utils.clip_grad_norm_(trained, schedule.clip_norm)
    optimizer.step()
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    means = {name: float(np.mean(values)) for name, values in seen.items()}
    return parallel.means(means, task_device(task)) | {"gradient": float(whole)}


def follow(model: nn.Module, average: dict[str, Tensor], decay: float) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in average:
                average[name].lerp_(parameter, 1 - decay)


def task_device(task: Task) -> torch.device:
    return next(task.model.parameters()).device
