"""What each stage of training at size learns: flow, its causal twin, and distillation."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from avatar.models.dit import DiT
from avatar.sampling.policy import Policy
from avatar.sampling.schedule import add_noise
from training.scale.clips import ShardedClips
from training.tasks.batch import Stretch, served_levels
from training.tasks.distill import Distillation, DistillTask
from training.tasks.dit import UNKNOWN_SHARE, denoise_chunks
from training.tasks.teacher import denoise_stretch

FACE_WEIGHT = 2.0
"""What a token where speech may act counts more than one of the backdrop."""


@dataclass(frozen=True)
class Batches:
    """Clips, and how much of them a process takes at a time."""

    clips: ShardedClips
    batch_size: int
    num_chunks: int
    policy: Policy
    compute: torch.dtype = torch.float32
    """Of text and image: their embedders begin with a norm, whose weights are in that type."""

    def draw(self, rng: np.random.Generator) -> Stretch:
        length = self.num_chunks * self.policy.chunk_latents
        stretch = self.clips.draw(rng, self.batch_size, length)
        text, image = stretch.text, stretch.image
        return replace(
            stretch,
            text=None if text is None else text.to(self.compute),
            image=None if image is None else image.to(self.compute),
        )


class FlowTask:
    """Flow matching (arXiv:2210.02747) of the bidirectional model: the teacher.

    Speech is hidden from some stretches, so that the model can be guided by it.
    """

    def __init__(
        self,
        model: DiT,
        batches: Batches,
        *,
        shift: float,
        deaf_share: float = 0.1,
        bfloat16: bool = False,
    ) -> None:
        self.model, self.batches, self.bfloat16 = model, batches, bfloat16
        self.shift, self.deaf_share = shift, deaf_share

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        stretch = self.batches.draw(rng)
        clean = stretch.clean
        even = (rng.random(len(clean)) + np.arange(len(clean))) / len(clean)  # stratified
        even = 0.02 + 0.98 * even
        sigma = torch.from_numpy(self.shift * even / (1 + (self.shift - 1) * even)).to(clean)
        hears = torch.from_numpy(rng.random(len(clean)) >= self.deaf_share).to(clean)
        noisy, noise = noised_by(rng, clean, sigma)
        with autocast(clean, self.bfloat16):
            prediction = denoise_stretch(
                self.model, stretch, noisy, sigma, self.batches.policy, hears
            )
        loss = velocity_loss(prediction, noise - clean, stretch, self.model)
        return loss, {"sigma": float(sigma.mean())}


class CausalTask:
    """The same loss under the serving mask: chunks see {sink, previous, themselves}, one level.

    Most levels are those that serving uses; the look-ahead of some chunks is unknown.
    """

    def __init__(self, model: DiT, batches: Batches, *, bfloat16: bool = False) -> None:
        self.model, self.batches, self.bfloat16 = model, batches, bfloat16

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        stretch, policy = self.batches.draw(rng), self.batches.policy
        clean, count = stretch.clean, len(stretch.clean)
        sigma = served_levels(rng, policy.sigmas, count).to(clean)
        known = rng.random((count, self.batches.num_chunks)) > UNKNOWN_SHARE
        noisy, noise = noised_by(rng, clean, sigma)
        with autocast(clean, self.bfloat16):
            prediction = denoise_chunks(
                self.model, stretch, noisy, sigma, policy, torch.from_numpy(known).to(clean.device)
            )
        loss = velocity_loss(prediction, noise - clean, stretch, self.model)
        return loss, {"sigma": float(sigma.mean())}


class StudentTask(DistillTask):
    """Distribution matching with a critic beside regression, see `training.tasks.distill`.

    Nobody has measured the mouths of footage: the loss on mouth shapes is left out.
    """

    def __init__(
        self,
        student: DiT,
        critic: DiT,
        teacher: DiT,
        batches: Batches,
        weights: Distillation,
        *,
        bfloat16: bool = False,
    ) -> None:
        assert not weights.sync
        self.batches, self.bfloat16 = batches, bfloat16
        self.policy, self.num_chunks = batches.policy, batches.num_chunks
        self.weights, self.student, self.critic = weights, student, critic
        self.teacher = teacher.eval().requires_grad_(False)
        self.model = nn.ModuleDict({"student": student, "critic": critic})

    def draw(self, rng: np.random.Generator) -> Stretch:
        return self.batches.draw(rng)


def noised_by(rng: np.random.Generator, clean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents, and the noise: it hangs on the batch alone, not on how many share the work."""
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(clean)
    return add_noise(clean, noise, sigma[:, None, None, None, None]), noise


def velocity_loss(prediction: Tensor, velocity: Tensor, stretch: Stretch, model: DiT) -> Tensor:
    """Mean square, the face counting more."""
    if model.config.prediction != "velocity":
        raise ValueError(f"the model predicts {model.config.prediction}, velocity expected")
    error = (prediction.float() - velocity.float()).square().mean(2)  # (B, T, h, w)
    weight = face_weight(stretch, model.config.patch)
    return (error * weight[:, None]).mean()


def face_weight(stretch: Stretch, patch: int) -> Tensor:
    """(B, h, w), mean 1."""
    h, w = stretch.clean.shape[-2:]
    tokens = 1 + (FACE_WEIGHT - 1) * stretch.masks.float()
    grid = tokens.unflatten(1, (h // patch, w // patch))
    weight = grid.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    return weight / weight.mean((1, 2), keepdim=True)


def autocast(like: Tensor, bfloat16: bool) -> torch.autocast:
    return torch.autocast(like.device.type, torch.bfloat16, enabled=bfloat16)
