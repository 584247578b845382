"""Distillation: a student that makes chunks in two forwards learns from the bidirectional teacher.

The modified CausVid recipe of TalkingMachines (arXiv:2506.03099): sparse causal attention {sink,
previous, current chunk}, one noise level for all chunks, distribution matching (DMD,
arXiv:2311.18828) with a critic beside a regression loss, no GAN, real and generated clips mixed.
The student's clips are its own rollouts through the serving cache (Self Forcing, arXiv:2506.08009),
and teacher and critic judge them as whole, continuous stretches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from avatar.models.dit import Condition, DiT, KeyValue
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import audio_mask, past, seen_channels
from avatar.sampling.schedule import add_noise, predicted_clean
from training.data.latents import LatentClips
from training.tasks.batch import Stretch, Stretches, anchored, read_mouths, served_levels
from training.tasks.dit import denoise_chunks, evened, weighted_square
from training.tasks.latent_reader import LatentReader
from training.tasks.teacher import GUIDANCE, NUM_CHUNKS, denoise_stretch, guided, shifted
from training.tasks.vae import has_bfloat16


@dataclass(frozen=True)
class Distillation:
    """What the student learns from; a weight of 0 leaves a term out.

    `critic_steps`: steps of the critic for each of the student. `regression` is on real clips whose
    chunks are denoised under the serving mask; `generated` on the student's own rollouts, towards
    the clip whose speech and controls they were made from, and `steady`, within it, on how that
    error changes from latent to latent. `self_rollout`: else the student is
    judged on real clips denoised in one forward, as CausVid does.
    """

    dmd: float = 1.0
    regression: float = 1.0
    generated: float = 0.25
    steady: float = 0.25
    sync: float = 2.0
    critic_steps: int = 5
    guidance: float = GUIDANCE
    self_rollout: bool = True


SELF_FORCING = Distillation(dmd=0.0, regression=0.25, generated=1.0, steady=1.0)
"""Without a teacher: towards the clips alone."""
STUDENT = Distillation(critic_steps=2, generated=0.5, steady=1.0, sync=6.0)
"""The default avatar's. Its critic begins as the teacher, and two steps keep up with a student that
moves little; lips, which the teacher does not know better than the clips do, count three times."""


class DistillTask:
    """`model` holds the student and the critic; the teacher stays as it is.

    Without a teacher there is no critic, and the student learns from the clips alone.
    """

    def __init__(
        self,
        clips: LatentClips,
        reader: LatentReader,
        teacher: DiT | None,
        student: DiT,
        policy: Policy,
        face_masks: dict[str, Tensor],
        *,
        weights: Distillation | None = None,
        batch_size: int = 2,
        num_chunks: int = NUM_CHUNKS,
        bfloat16: bool | None = None,
    ) -> None:
        self.policy, self.batch_size, self.num_chunks = policy, batch_size, num_chunks
        self.weights = weights or Distillation()
        self.bfloat16 = has_bfloat16() if bfloat16 is None else bfloat16
        self.reader = reader.eval().requires_grad_(False)
        assert student.config.audio is not None
        self.stretches = Stretches(clips, face_masks, student.config.audio.reach)
        self.student = student.requires_grad_(True)
        self.model = nn.ModuleDict({"student": student})
        if teacher is None:
            if self.weights.dmd:
                raise ValueError("distribution matching needs a teacher: give one, or dmd=0")
            return
        self.teacher = teacher.eval().requires_grad_(False)
        self.critic = DiT(teacher.config)
        self.critic.load_state_dict(teacher.state_dict())
        self.model["critic"] = self.critic

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        stretch = self.draw(rng)
        device = stretch.clean.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bfloat16):
            if "critic" not in self.model or step % (self.weights.critic_steps + 1) == 0:
                return self.student_loss(stretch, rng)
            with torch.no_grad():
                made = self.generate(stretch, rng)
            return self.critic_loss(stretch, made)

    def draw(self, rng: np.random.Generator) -> Stretch:
        length = self.num_chunks * self.policy.chunk_latents
        return self.stretches.draw(rng, self.batch_size, length)

    def generate(self, stretch: Stretch, rng: np.random.Generator) -> Tensor:
        """Clips (B, T, C, h, w) by the student; gradients reach one of its steps."""
        if self.weights.self_rollout:
            step = int(rng.integers(len(self.policy.sigmas)))
            return rollout(self.student, stretch, self.policy, step)
        sigma = served_levels(rng, self.policy.sigmas, len(stretch.clean), share=1.0)
        return self.denoised(stretch, sigma.to(stretch.clean))

    def student_loss(
        self, stretch: Stretch, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        w = self.weights
        made = self.generate(stretch, rng)
        loss, figures = made.new_zeros(()), {}
        if w.dmd:
            gradient, size = self.matching_gradient(stretch, made.detach())
            loss = loss + w.dmd * (gradient * made).mean()
            figures["dmd"] = size
        if w.generated:
            error = made - stretch.clean
            off = weighted_square(error, stretch).mean()
            jumps = weighted_square(error.diff(dim=1), stretch).mean()
            loss = loss + w.generated * (off + w.steady * jumps)
            figures |= {"made_off": off.item(), "jumps": jumps.item()}
        if w.sync:
            read = read_mouths(self.reader, made, stretch)
            sync = (read - stretch.visemes).square().mean()
            loss = loss + w.sync * sync
            figures["made_sync"] = sync.item()
        if w.regression:
            sigma = served_levels(rng, self.policy.sigmas, len(stretch.clean)).to(made)
            off = weighted_square(self.denoised(stretch, sigma) - stretch.clean, stretch)
            loss = loss + w.regression * (off * evened(sigma)).mean()
            figures["real_off"] = off.mean().item()
        return loss, figures

    def matching_gradient(self, stretch: Stretch, made: Tensor) -> tuple[Tensor, float]:
        """DMD's, eq. 7 and 8: critic less teacher, over the teacher's mean distance."""
        with torch.no_grad():
            noisy, sigma, level = noised(made)
            real = guided(self.teacher, stretch, noisy, sigma, self.policy, self.weights.guidance)
            fake = guided(self.critic, stretch, noisy, sigma, self.policy, 1.0)
            distance = (made - real).abs().mean((1, 2, 3, 4), keepdim=True)
            gradient = (fake - real) / distance.clamp(min=1e-3)
        return gradient, float((fake - real).abs().mean())

    def critic_loss(self, stretch: Stretch, made: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Flow matching on what the student makes."""
        noisy, sigma, level = noised(made)
        ones = torch.ones_like(sigma)
        prediction = denoise_stretch(self.critic, stretch, noisy, sigma, self.policy, ones)
        clean = predicted_clean(prediction.float(), noisy, level, self.critic.config.prediction)
        off = (clean - made).square().mean((1, 2, 3, 4))
        return (off * evened(sigma)).mean(), {"critic_off": off.mean().item()}

    def denoised(self, stretch: Stretch, sigma: Tensor) -> Tensor:
        """The student's x0 of real clips, all chunks in one forward under the serving mask."""
        level = sigma[:, None, None, None, None]
        noisy = add_noise(stretch.clean, torch.randn_like(stretch.clean), level)
        known = torch.ones(len(sigma), self.num_chunks, dtype=torch.bool, device=sigma.device)
        prediction = denoise_chunks(self.student, stretch, noisy, sigma, self.policy, known)
        return predicted_clean(prediction.float(), noisy, level, self.student.config.prediction)


def noised(clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One level for each clip: noisy, (B,) and the same for broadcasting."""
    sigma = shifted(0.02 + 0.96 * torch.rand(len(clean), device=clean.device))
    level = sigma[:, None, None, None, None]
    return add_noise(clean, torch.randn_like(clean), level), sigma, level


def rollout(model: DiT, stretch: Stretch, policy: Policy, grad_step: int) -> Tensor:
    """Chunk after chunk through the serving cache, as in `denoise_chunk`; (B, T, C, h, w).

    A chunk is the x0 of forward `grad_step`, which alone is differentiated; the caches are not.
    The chunk goes on to the last forward all the same, because the next one reads what it wrote.
    """
    F = policy.chunk_latents
    with torch.no_grad():
        sink = anchored(model, stretch, policy)
    previous: list[list[KeyValue]] = []
    made, drawn = [], list[Tensor]()
    for start in range(0, stretch.clean.shape[1], F):
        like = stretch.clean[:, start : start + F]
        written: list[list[KeyValue]] = []
        if not drawn or policy.noise == "fresh":
            drawn = [noise_like(like, policy) for _ in policy.sigmas]
        noisy = clean = drawn[0]
        for step, sigma in enumerate(policy.sigmas):
            with torch.set_grad_enabled(step == grad_step and torch.is_grad_enabled()):
                condition = condition_at(model, stretch, policy, start)
                context = past(sink, previous, step, policy)
                timestep = like.new_full((len(like),), 1000 * sigma)
                prediction, kv = model(
                    noisy, timestep, condition, context, policy.current_positions
                )
                clean = predicted_clean(prediction.float(), noisy, sigma, model.config.prediction)
            if step == grad_step:
                made.append(clean)
            written.append([KeyValue(each.key.detach(), each.value.detach()) for each in kv])
            if step + 1 < len(policy.sigmas):
                noisy = add_noise(clean.detach(), drawn[step + 1], policy.sigmas[step + 1])
        if policy.cache == "clean_pass":
            with torch.no_grad():
                condition = condition_at(model, stretch, policy, start)
                context, still = past(sink, previous, 0, policy), like.new_zeros(len(like))
                _, kv = model(clean, still, condition, context, policy.current_positions)
            written = [kv]
        previous = written
    return torch.cat(made, 1)


def noise_like(chunk: Tensor, policy: Policy) -> Tensor:
    """Of a chunk's shape, as the policy draws it."""
    still = policy.noise == "still"
    return torch.randn_like(chunk[:, :1] if still else chunk).expand_as(chunk)


def condition_at(model: DiT, stretch: Stretch, policy: Policy, start: int) -> Condition:
    """Of the chunk that begins with this latent."""
    reach = model.config.audio.reach if model.config.audio else 0
    end = start + policy.chunk_latents
    like = stretch.clean[:, start:end]
    return Condition(
        channels=seen_channels(
            model, stretch.portrait, None, like, policy, policy.current_positions
        ),
        audio=model.project_audio(stretch.speech[:, start : end + 2 * reach]),
        face_mask=audio_mask(stretch.portrait, policy),
        controls=None if stretch.told is None else stretch.told[:, start:end],
        text=stretch.text,
        image=stretch.image,
    )
