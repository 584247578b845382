"""The training loop: one for every network, resumable to the step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from avatar.telemetry.logging import get_logger
from training import parallel
from training.checkpoint import load_checkpoint, save_checkpoint

log = get_logger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Cosine learning rate with warm-up, and how often to save."""

    steps: int
    learning_rate: float
    warmup_steps: int = 60
    final_fraction: float = 0.03
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.98)
    ema_decay: float = 0.998
    clip_norm: float = 1.0
    save_every_s: float = 180.0
    log_every: int = 50
    seed: int = 0

    def rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return (
            self.learning_rate * warm * (self.final_fraction + (1 - self.final_fraction) * cosine)
        )


class Task(Protocol):
    """A network with its data and loss."""

    @property
    def model(self) -> nn.Module: ...

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch, and figures to log. All randomness of data comes from `rng`."""
        ...


def fit(
    task: Task,
    schedule: Schedule,
    folder: Path,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Tensor]:
    """Train to the end of the schedule, from the last checkpoint in `folder` if there is one.

    The batch of step n is drawn from (seed, n), so a run that was stopped and resumed sees the
    same data as one that was not. Of several processes each draws its own, see
    `training.parallel`.

    Returns:
        The exponential moving average of the weights.
    """
    model = task.model
    optimizer = torch.optim.AdamW(
        model.parameters(),
        schedule.learning_rate,
        schedule.betas,
        weight_decay=schedule.weight_decay,
    )
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    path = folder / "checkpoint.safetensors"
    first = load_checkpoint(path, model, ema, optimizer)
    parallel.same_weights(model)
    rank = parallel.rank()
    saved_at, seen = clock(), dict[str, list[float]]()
    started = saved_at
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        torch.manual_seed(schedule.seed * 1_000_003 + step + 500_009 * rank)
        drawn = (schedule.seed, step, rank) if rank else (schedule.seed, step)
        loss, figures = task.loss(step, np.random.default_rng(drawn))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(model)
        nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
        optimizer.step()
        decay = min(schedule.ema_decay, (step + 1) / (step + 20))
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if value.is_floating_point():
                    ema[key].lerp_(value, 1 - decay)
        if rank:
            continue
        for name, value_ in {"loss": loss.item(), **figures}.items():
            seen.setdefault(name, []).append(value_)
        if (step + 1) % schedule.log_every == 0 or step + 1 == schedule.steps:
            rate = (clock() - started) / (step + 1 - first)
            means = {k: round(float(np.mean(v)), 5) for k, v in seen.items()}
            log.info(
                "step",
                run=folder.name,
                step=step + 1,
                of=schedule.steps,
                seconds_a_step=round(rate, 3),
                **means,
            )
            seen = {}
        if clock() - saved_at > schedule.save_every_s or step + 1 == schedule.steps:
            save_checkpoint(path, step + 1, model, ema, optimizer)
            saved_at = clock()
    return ema
