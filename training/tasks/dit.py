"""Teacher-forced training of the chunk-causal DiT: one noise level for all chunks of a clip."""

import numpy as np
import torch
from torch import Tensor

from avatar.models.dit import ChunkParallelContext, Condition, DiT, KeyValue, tiny
from avatar.models.dit.audio_projection import zero_window_edges
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import audio_mask, seen_channels
from avatar.sampling.schedule import add_noise, predicted_clean
from training.data.latents import LatentClips
from training.tasks.batch import Stretch, Stretches, anchored, read_mouths, served_levels
from training.tasks.latent_reader import LatentReader
from training.tasks.vae import has_bfloat16

UNKNOWN_SHARE = 0.15
"""Of chunks whose look-ahead is silence: live speech has none yet."""


class DiTTask:
    """Denoise N chunks in one pass, each seeing {sink, previous chunk, itself}.

    The loss is on x0, weighted to the face and the mouth, on how its error changes from latent to
    latent, for that flickers, and on the mouth shapes that the frozen latent reader reads from it.
    """

    def __init__(
        self,
        clips: LatentClips,
        reader: LatentReader,
        policy: Policy,
        face_masks: dict[str, Tensor],
        *,
        batch_size: int = 3,
        num_chunks: int = 5,
        sync_weight: float = 4.0,
        steady_weight: float = 0.25,
        bfloat16: bool | None = None,
        model: DiT | None = None,
    ) -> None:
        self.policy = policy
        self.batch_size, self.num_chunks = batch_size, num_chunks
        self.sync_weight, self.steady_weight = sync_weight, steady_weight
        self.bfloat16 = has_bfloat16() if bfloat16 is None else bfloat16
        self.reader = reader.eval().requires_grad_(False)
        self.model = model or new_model(clips)
        self.config = self.model.config
        assert self.config.audio is not None
        self.stretches = Stretches(clips, face_masks, self.config.audio.reach)

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        length = self.num_chunks * self.policy.chunk_latents
        stretch = self.stretches.draw(rng, self.batch_size, length)
        sigma = served_levels(rng, self.policy.sigmas, self.batch_size)
        known = torch.from_numpy(rng.random((self.batch_size, self.num_chunks)) > UNKNOWN_SHARE)
        noise = torch.randn(stretch.clean.shape)
        noisy = add_noise(stretch.clean, noise, sigma[:, None, None, None, None])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            prediction = denoise_chunks(self.model, stretch, noisy, sigma, self.policy, known)
        clean = predicted_clean(
            prediction.float(), noisy, sigma[:, None, None, None, None], self.config.prediction
        )
        error = clean - stretch.clean
        mse = weighted_square(error, stretch) + self.steady_weight * weighted_square(
            error.diff(dim=1), stretch
        )
        sync = (read_mouths(self.reader, clean, stretch) - stretch.visemes).square().mean()
        loss = (mse * evened(sigma)).mean() + self.sync_weight * sync
        figures = {"mse": mse.mean().item(), "sync": sync.item()}
        for name, chosen in (("first", sigma > 0.9), ("last", (sigma - 0.5).abs() < 0.01)):
            if chosen.any():
                figures[f"mse_{name}"] = mse[chosen].mean().item()
        return loss, figures


def new_model(clips: LatentClips) -> DiT:
    """Untrained, for latents, speech and controls as those of the clips."""
    channels = clips.latents[0].shape[1]
    model = DiT(tiny(channels, clips.speech[0].shape[-1], clips.controls[0].shape[-1]))
    model.latent_scale.copy_(clips.scale)
    return model


def denoise_chunks(
    model: DiT,
    stretch: Stretch,
    noisy: Tensor,
    sigma: Tensor,
    policy: Policy,
    known: Tensor,
    sink: list[KeyValue] | None = None,
) -> Tensor:
    """One forward over all N chunks of (B, N F, C, h, w) latents under the serving mask.

    `known` (B, N) says of which chunks the look-ahead is known. Equal to N forwards with caches;
    for a clean pass the stretch itself is the clean chunks.
    """
    N, F = known.shape[1], policy.chunk_latents
    assert model.config.audio is not None
    reach = model.config.audio.reach
    windows = stretch.speech.unfold(1, F + 2 * reach, F).movedim(-1, 2).flatten(0, 1)
    windows = zero_window_edges(windows, known.flatten(), reach)
    chunks = noisy.unflatten(1, (N, F)).flatten(0, 1)
    told, (portrait, text, image) = stretch.told, stretch.seen_by_chunks(N)
    condition = Condition(
        channels=seen_channels(model, portrait, None, chunks, policy, policy.current_positions),
        audio=model.project_audio(windows),
        face_mask=audio_mask(portrait, policy),
        controls=None if told is None else told.unflatten(1, (N, F)).flatten(0, 1),
        text=text,
        image=image,
    )
    places = policy.sink_positions + policy.previous_positions
    sink = sink or anchored(model, stretch, policy)
    context = ChunkParallelContext(sink, N, places, None if policy.previous_positions else ())
    if policy.cache == "clean_pass":
        clean = stretch.clean.unflatten(1, (N, F)).flatten(0, 1)
        still = sigma.new_zeros(len(clean))
        _, written = model(clean, still, condition, context, policy.current_positions)
        context = ChunkParallelContext(sink, N, places, written)
    prediction, _ = model(
        chunks, 1000 * sigma.repeat_interleave(N), condition, context, policy.current_positions
    )
    return prediction.unflatten(0, (len(sigma), N)).flatten(1, 2)


def evened(sigma: Tensor) -> Tensor:
    """Weight of x0's squared error with which all noise levels count alike (EDM, eq. 8).

    It is held below that of 0.2, so that nearly clean latents do not outweigh all else.
    """
    held = sigma.clamp(min=0.2)
    return ((1 - held) ** 2 + held**2) / held**2


def weighted_square(error: Tensor, stretch: Stretch) -> Tensor:
    """(B,) mean square of latents (B, T, C, h, w), counted by place and channel."""
    weighted = error.square() * stretch.weight[:, None, None] * stretch.importance
    return weighted.mean((1, 2, 3, 4))
