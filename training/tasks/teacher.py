"""The teacher: a bidirectional flow-matching model of whole stretches, guided by the speech."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avatar.models.dit import CachedContext, Condition, DiT, KeyValue, tiny
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import seen_channels
from avatar.sampling.schedule import add_noise, predicted_clean, shifted_sigmas
from training.data.latents import LatentClips
from training.tasks.batch import Stretch, Stretches, anchored, read_mouths
from training.tasks.dit import evened, weighted_square
from training.tasks.latent_reader import LatentReader
from training.tasks.vae import has_bfloat16

NUM_CHUNKS = 5
"""Of a stretch: 15 latents, 2.4 s, in places 3 to 17 between the sink and nothing."""
DEAF_SHARE = 0.1
"""Of stretches whose speech is hidden, so that the model can be guided by it."""
SHIFT = 3.0
GUIDANCE = 1.5
STEPS = 12
"""Twice as many evaluations, because of the guidance."""


class TeacherTask:
    """Flow matching (arXiv:2210.02747), counted in x0, all noise levels alike."""

    def __init__(
        self,
        clips: LatentClips,
        reader: LatentReader,
        policy: Policy,
        face_masks: dict[str, Tensor],
        *,
        batch_size: int = 3,
        sync_weight: float = 4.0,
        bfloat16: bool | None = None,
    ) -> None:
        self.policy, self.batch_size, self.sync_weight = policy, batch_size, sync_weight
        self.bfloat16 = has_bfloat16() if bfloat16 is None else bfloat16
        self.reader = reader.eval().requires_grad_(False)
        channels = clips.latents[0].shape[1]
        self.config = tiny(channels, clips.speech[0].shape[-1], clips.controls[0].shape[-1])
        assert self.config.audio is not None
        self.stretches = Stretches(clips, face_masks, self.config.audio.reach)
        self.model = DiT(self.config)
        self.model.latent_scale.copy_(clips.scale)

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        B = self.batch_size
        stretch = self.stretches.draw(rng, B, NUM_CHUNKS * self.policy.chunk_latents)
        even = torch.from_numpy((rng.random(B) + np.arange(B)) / B).float()  # stratified
        sigma = shifted(0.02 + 0.98 * even)
        hears = torch.from_numpy(rng.random(B) > DEAF_SHARE).float()
        level = sigma[:, None, None, None, None]
        noisy = add_noise(stretch.clean, torch.randn(stretch.clean.shape), level)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            prediction = denoise_stretch(self.model, stretch, noisy, sigma, self.policy, hears)
        clean = predicted_clean(prediction.float(), noisy, level, self.config.prediction)
        mse = weighted_square(clean - stretch.clean, stretch)
        off = (read_mouths(self.reader, clean, stretch) - stretch.visemes).square()
        sync = (off.mean((1, 2, 3)) * hears).mean()
        loss = (mse * evened(sigma)).mean() + self.sync_weight * sync
        figures = {"mse": mse.mean().item(), "sync": sync.item()}
        if (high := sigma > 0.9).any():
            figures["mse_high"] = mse[high].mean().item()
        return loss, figures


def denoise_stretch(
    model: DiT,
    stretch: Stretch,
    noisy: Tensor,
    sigma: Tensor,
    policy: Policy,
    hears: Tensor,
    sink: list[KeyValue] | None = None,
) -> Tensor:
    """One bidirectional forward over (B, T, C, h, w): every latent sees every other.

    `hears` (B,) in {0, 1}: without it the speech does not reach the face, which is another thing
    than silence.
    """
    num_latents = noisy.shape[1]
    first = policy.sink_positions[-1] + 1
    places = tuple(range(first, first + num_latents))
    condition = Condition(
        channels=seen_channels(model, stretch.portrait, None, noisy, policy, places),
        audio=model.project_audio(stretch.speech),
        face_mask=stretch.masks * hears[:, None],
        controls=stretch.told,
        text=stretch.text,
        image=stretch.image,
    )
    context = CachedContext((sink or anchored(model, stretch, policy),), policy.sink_positions)
    prediction, _ = model(noisy, 1000 * sigma, condition, context, places)
    return prediction


def guided(
    model: DiT,
    stretch: Stretch,
    noisy: Tensor,
    sigma: Tensor,
    policy: Policy,
    guidance: float,
    sink: list[KeyValue] | None = None,
) -> Tensor:
    """x0 with classifier-free guidance by the speech (arXiv:2207.12598); two evaluations."""
    level, ones = sigma[:, None, None, None, None], torch.ones_like(sigma)

    def clean(hears: Tensor) -> Tensor:
        prediction = denoise_stretch(model, stretch, noisy, sigma, policy, hears, sink)
        return predicted_clean(prediction.float(), noisy, level, model.config.prediction)

    heard = clean(ones)
    if guidance == 1.0:
        return heard
    deaf = clean(torch.zeros_like(ones))
    return deaf + guidance * (heard - deaf)


@torch.no_grad()
def sample(
    model: DiT,
    stretch: Stretch,
    policy: Policy,
    *,
    sigmas: Sequence[float] = shifted_sigmas(STEPS, SHIFT),
    guidance: float = GUIDANCE,
    noise: Tensor | None = None,
) -> Tensor:
    """Euler along the flow from noise to latents (B, T, C, h, w), in the model's space."""
    x = torch.randn(stretch.clean.shape) if noise is None else noise
    sink = anchored(model, stretch, policy)
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        level = torch.full((len(x),), sigma)
        clean = guided(model, stretch, x, level, policy, guidance, sink)
        x = clean + (following / sigma) * (x - clean)
    return x


def shifted(sigma: Tensor) -> Tensor:
    """SD3's shift (arXiv:2403.03206, eq. 23) of levels in (0, 1]."""
    return SHIFT * sigma / (1 + (SHIFT - 1) * sigma)
