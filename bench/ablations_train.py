"""Trains one row of the ablation table: a short fine-tune under the row's rule."""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from avatar.errors import NotFound
from avatar.models.dit import DiT
from avatar.models.vae import VAE
from bench.ablations_rows import Budget, Rule
from training.data.dataset import CastClip, read_clips
from training.data.latents import LatentClips
from training.export import face_masks
from training.meters.mouth_reader import MouthReader
from training.tasks.distill import DistillTask
from training.tasks.dit import DiTTask
from training.tasks.latent_reader import LatentReader
from training.train import restored, stored_latents, trained_dit, trained_vae
from training.trainer import Schedule, fit

NEEDED = (
    "audio_encoder.safetensors", "vae.safetensors", "latents.safetensors",
    "latent_reader.safetensors", "mouth_reader.safetensors", "dit.safetensors",
    "teacher.safetensors", "clips",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What every row stands on; `networks` are "dit", causal, and "teacher"; none is changed."""

    clips: LatentClips
    held_out: list[CastClip]
    reader: LatentReader
    mouth_reader: MouthReader
    vae: VAE
    masks: dict[str, Tensor]
    networks: Mapping[str, DiT]


def load_ground(run: Path) -> Ground:
    """Of a finished run of `make train`. Raises NotFound where a part of it is missing."""
    check_run(run)
    clips, reader = stored_latents(run)
    return Ground(
        clips,
        read_clips(run / "clips").held_out,
        reader,
        restored(MouthReader(), run, "mouth_reader"),
        trained_vae(run),
        face_masks(),
        {name: trained_dit(run, name) for name in ("dit", "teacher")},
    )


def check_run(run: Path) -> None:
    missing = [name for name in NEEDED if not (run / name).exists()]
    if missing:
        raise NotFound(
            f"{run} has no {', '.join(missing)}: `make train` makes a run, --run names one"
        )


@dataclass(frozen=True)
class Trained:
    """The row's network, and what its training took, in floating point operations."""

    model: DiT
    flop: float


def train_row(ground: Ground, rule: Rule, budget: Budget, folder: Path) -> Trained:
    """From the run's weights; goes on from the checkpoint in `folder` if there is one."""
    if rule.stage == "teacher":
        return Trained(_frozen(ground.networks["teacher"]), 0.0)
    task = task_of(ground, rule, budget)
    steps = budget.steps(rule)
    flop = flop_of_a_step(task_of(ground, rule, budget), rule) * steps
    averaged = fit(task, schedule_of(rule, steps), folder)
    task.model.load_state_dict(averaged)
    return Trained(_frozen(task.student if isinstance(task, DistillTask) else task.model), flop)


def schedule_of(rule: Rule, steps: int) -> Schedule:
    """Half the rate of the run's own: its weights are trained already."""
    return Schedule(
        steps=steps,
        learning_rate=3e-4 if rule.stage == "causal" else 1e-4,
        warmup_steps=10,
        betas=(0.9, 0.97),
        ema_decay=0.95,
        seed=rule.seed,
    )


def task_of(ground: Ground, rule: Rule, budget: Budget) -> DiTTask | DistillTask:
    """With a copy of the run's networks."""
    start = with_window(ground.networks["dit"], rule.audio_window)
    start.train().requires_grad_(True)
    if rule.stage == "causal":
        return DiTTask(
            ground.clips,
            ground.reader,
            rule.policy,
            ground.masks,
            batch_size=budget.batch,
            num_chunks=budget.chunks(rule),
            model=start,
        )
    return DistillTask(
        ground.clips,
        ground.reader,
        copy.deepcopy(ground.networks["teacher"]),
        start,
        rule.policy,
        ground.masks,
        weights=rule.distillation,
        batch_size=budget.batch,
        num_chunks=budget.chunks(rule),
    )


def with_window(model: DiT, window_latents: int) -> DiT:
    """A copy that hears another window of speech.

    The audio projection's first layer is the trained one, cut to the window's middle, or with
    zeros for the latents that it did not hear.
    """
    before = model.config.audio
    assert before is not None
    audio = dataclasses.replace(before, window_latents=window_latents)
    changed = DiT(dataclasses.replace(model.config, audio=audio))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    name = "audio_projection.proj1.weight"
    heard = weights[name].unflatten(1, (before.window_latents, -1))
    fitted = heard.new_zeros(heard.shape[0], window_latents, heard.shape[2])
    reach = min(before.reach, audio.reach)
    inner = slice(audio.reach - reach, audio.reach + reach + 1)
    fitted[:, inner] = heard[:, before.reach - reach : before.reach + reach + 1]
    weights[name] = fitted.flatten(1)
    changed.load_state_dict(weights)
    return changed


def flop_of_a_step(task: DiTTask | DistillTask, rule: Rule) -> float:
    """Mean over a student's step and those of its critic; forward and backward."""
    count = rule.distillation.critic_steps + 1 if rule.stage == "student" else 1
    with counting() as counter:
        for step in range(count):
            loss, _ = task.loss(step, np.random.default_rng(step))
            loss.backward()
    return counter.get_total_flops() / count


def counting() -> FlopCounterMode:
    """Counts operations of matrices, attention on a CPU included; a product and a sum are two."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={attention: _attention_flop})


def _attention_flop(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """Of shapes (B, heads, L, D); the counter hands over shapes in the place of tensors."""
    count: int = sdpa_flop_count(query, key, value)
    return count


def _frozen(model: DiT) -> DiT:
    return model.eval().requires_grad_(False)
