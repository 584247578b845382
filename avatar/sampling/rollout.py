"""Chunk after chunk: the one loop that serving, training and benchmarks call."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.models.dit import CachedContext, Condition, DiT, KeyValue, SelfContext
from avatar.sampling.policy import Policy
from avatar.sampling.schedule import add_noise, chunk_noise, predicted_clean


@dataclass(frozen=True)
class Portrait:
    """An avatar as the model sees it.

    `sink_latents` is (1, S, C, H, W): the still portrait as the VAE's first latents; the first is
    the reference. `face_mask` is (1, tokens) in {0, 1}.
    """

    sink_latents: Tensor
    face_mask: Tensor

    @property
    def reference(self) -> Tensor:
        """(1, 1, C, H, W)."""
        return self.sink_latents[:, :1]


@dataclass(frozen=True)
class Anchor:
    """Computed once a session (or avatar): keys and values of the sink, and of text and image.

    `sink` is empty where the policy has none.
    """

    portrait: Portrait
    sink: Sequence[KeyValue]
    fixed: Sequence[tuple[KeyValue, ...]]


@dataclass(frozen=True)
class RolloutState:
    """The past of a session: for each denoising step the previous chunk's keys and values.

    After a clean pass these are one for all steps. `last_latent` is (1, 1, C, H, W) in the model's
    space. Empty at the beginning.
    """

    previous: tuple[Sequence[KeyValue], ...] = ()
    last_latent: Tensor | None = None


def drop_anchor(
    model: DiT,
    portrait: Portrait,
    policy: Policy,
    *,
    text: Tensor | None = None,
    image: Tensor | None = None,
) -> Anchor:
    """Run the sink, clean and silent, through the model once."""
    fixed = model.project_fixed(text, image)
    if not policy.sink_positions:
        return Anchor(portrait, (), fixed)
    latents = to_model_space(model, portrait.sink_latents, portrait.reference)
    condition = sink_condition(model, portrait, latents, policy, fixed)
    timestep = latents.new_zeros(latents.shape[0])
    _, sink = model(latents, timestep, condition, SelfContext(), policy.sink_positions)
    return Anchor(portrait, sink, fixed)


def sink_condition(
    model: DiT,
    portrait: Portrait,
    latents: Tensor,
    policy: Policy,
    fixed: Sequence[tuple[KeyValue, ...]] = (),
) -> Condition:
    """No speech, controls at rest, nothing before it."""
    B, num_latents = latents.shape[:2]
    config = model.config
    return Condition(
        channels=condition_channels(portrait.reference, None, latents, policy),
        controls=latents.new_zeros(B, num_latents, config.num_controls)
        if config.num_controls
        else None,
        fixed=fixed,
    )


def condition_channels(
    reference: Tensor, last_latent: Tensor | None, like: Tensor, policy: Policy
) -> Tensor:
    """The portrait's latent and, where the policy carries it, the latent before the chunk."""
    channels = [reference.expand_as(like)]
    if policy.carry_last_latent:
        before = torch.zeros_like(like) if last_latent is None else last_latent.expand_as(like)
        channels.append(before)
    return torch.cat(channels, dim=2)


def denoise_chunk(
    model: DiT,
    anchor: Anchor,
    speech: Tensor,
    controls: Tensor | None,
    state: RolloutState,
    policy: Policy,
    *,
    seed: int,
    epoch: int,
    seq: int,
) -> tuple[Tensor, RolloutState]:
    """Make the next chunk with len(policy.sigmas) forwards, and one more for a clean pass.

    Args:
        model: The network.
        anchor: From `drop_anchor`.
        speech: (1, F + 2 reach, tokens, dim): the chunk's embedded speech and its surroundings.
        controls: (1, F, num_controls) or None.
        state: Past of the session; not changed.
        policy: Noise levels and slots.
        seed: Key of the session's noise.
        epoch: Of the chunk; part of the noise's key.
        seq: Of the chunk; part of the noise's key.

    Returns:
        Latents (1, F, C, H, W) in the VAE's normalised space, and the next state.
    """
    reference = anchor.portrait.reference
    _, _, C, H, W = reference.shape
    shape = (1, policy.chunk_latents, C, H, W)
    like = reference.new_empty(shape)
    condition = Condition(
        channels=condition_channels(reference, state.last_latent, like, policy),
        audio=model.project_audio(speech) if model.config.audio else None,
        face_mask=audio_mask(anchor.portrait, policy),
        controls=controls,
        fixed=anchor.fixed,
    )
    noisy = session_noise(shape, policy, (seed, epoch, seq, 0)).to(reference)
    clean = noisy
    written = []
    for step, sigma in enumerate(policy.sigmas):
        timestep = reference.new_full((1,), 1000.0 * sigma)
        context = past(anchor.sink, state.previous, step, policy)
        prediction, kv = model(noisy, timestep, condition, context, policy.current_positions)
        written.append(kv)
        clean = predicted_clean(prediction, noisy, sigma, model.config.prediction)
        if step + 1 < len(policy.sigmas):
            following = policy.sigmas[step + 1]
            if policy.update == "renoise":
                noise = session_noise(shape, policy, (seed, epoch, seq, step + 1)).to(reference)
            else:
                noise = (noisy - (1 - sigma) * clean) / sigma
            noisy = add_noise(clean, noise, following)
    if policy.cache == "clean_pass":
        context = past(anchor.sink, state.previous, 0, policy)
        still = reference.new_zeros(1)
        written = [model(clean, still, condition, context, policy.current_positions)[1]]
    latents = from_model_space(model, clean, reference)
    return latents, RolloutState(tuple(written), clean[:, -1:])


def session_noise(
    shape: tuple[int, int, int, int, int], policy: Policy, key: tuple[int, int, int, int]
) -> Tensor:
    """(1, F, C, H, W) for `key`: seed, epoch, chunk and step, as the policy draws it."""
    seed, epoch, seq, step = key
    if policy.noise == "fresh":
        return chunk_noise(shape, seed, epoch, seq, step)
    B, _, C, H, W = shape
    return chunk_noise((B, 1, C, H, W), seed, 0, 0, step).expand(shape)


def past(
    sink: Sequence[KeyValue], previous: Sequence[Sequence[KeyValue]], step: int, policy: Policy
) -> CachedContext:
    """What forward `step` of a chunk sees besides the chunk, as far as it is there."""
    parts: tuple[Sequence[KeyValue], ...] = ()
    positions: tuple[int, ...] = ()
    if policy.sink_positions:
        parts, positions = (sink,), policy.sink_positions
    if previous and policy.previous_positions:
        parts += (previous[step if policy.cache == "per_step" else 0],)
        positions += policy.previous_positions
    return CachedContext(parts, positions)


def audio_mask(portrait: Portrait, policy: Policy) -> Tensor:
    """(1, tokens): how much sound acts there by the policy."""
    mask = portrait.face_mask
    return policy.audio_gain * (mask if policy.audio_scope == "face" else torch.ones_like(mask))


def to_model_space(model: DiT, latents: Tensor, reference: Tensor) -> Tensor:
    """Latents as the model denoises them: scaled, relative to the reference if it is residual."""
    origin = reference if model.config.residual else torch.zeros_like(reference)
    return (latents - origin) / model.latent_scale


def from_model_space(model: DiT, latents: Tensor, reference: Tensor) -> Tensor:
    """Inverse of `to_model_space`."""
    origin = reference if model.config.residual else torch.zeros_like(reference)
    return latents * model.latent_scale + origin
