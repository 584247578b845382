"""Chunk after chunk: the one loop that serving, training and benchmarks call."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.models.dit import CachedContext, Condition, DiT, KeyValue, SelfContext
from avatar.models.dit.references import References, reference_keys
from avatar.models.upload import brought
from avatar.sampling.policy import Places, Policy
from avatar.sampling.schedule import add_noise, chunk_noise, drawn, predicted_clean

Key = tuple[int, int, int]
"""Of a chunk's noise: the session's seed, epoch, seq."""


@dataclass(frozen=True)
class Portrait:
    """An avatar as the model sees it.

    `sink_latents` is (1, S, C, H, W): the still portrait as the VAE's first latents; the first is
    the reference. `face_mask` is (1, tokens) in {0, 1}.

    `image_channels` is (1, P, condition_channels, H, W) for models that see an image as Wan I2V
    does: mask and latents of a video whose first frame is the portrait and whose others are grey,
    by place in time; what comes after the last place sees that one. None: channels are the
    reference. `motion_latents` is (1, 19, C, H, W), what Wan-S2V sees as the past at the start.
    """

    sink_latents: Tensor
    face_mask: Tensor
    image_channels: Tensor | None = None
    motion_latents: Tensor | None = None

    @property
    def reference(self) -> Tensor:
        """(1, 1, C, H, W)."""
        return self.sink_latents[:, :1]


@dataclass(frozen=True)
class Anchor:
    """Computed once a session (or avatar): keys and values of the sink, and of text and image.

    `sink` is empty where the policy has none. `sink_places` is (L, 3) of its tokens that are on no
    grid of latents, the first ones.
    """

    portrait: Portrait
    sink: Sequence[KeyValue]
    fixed: Sequence[tuple[KeyValue, ...]]
    sink_places: Tensor | None = None


@dataclass(frozen=True)
class RolloutState:
    """The past of a session: for each denoising step the keys and values of the chunks it sees.

    That is the previous chunk, or as many as the policy's history holds, oldest first. After a
    clean pass these are one for all steps. `last_latent` is (1, 1, C, H, W) in the model's
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
    """Run the sink, clean and silent, through the model once.

    Raises:
        ValueError: The policy's sink has past frames and the portrait has none.
    """
    fixed = model.project_fixed(text, image)
    if not policy.sink_positions:
        return Anchor(portrait, (), fixed)
    if model.config.s2v is not None:
        motion = portrait.motion_latents if policy.sink_motion else None
        if policy.sink_motion and motion is None:
            raise ValueError("this policy's sink needs motion_latents, and the portrait has none")
        references = References(portrait.reference, motion)
        keys, places = reference_keys(model, references, fixed, policy.sink_positions[0])
        return Anchor(portrait, keys, fixed, places)
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
        channels=seen_channels(model, portrait, None, latents, policy, policy.sink_positions),
        controls=latents.new_zeros(B, num_latents, config.num_controls)
        if config.num_controls
        else None,
        fixed=fixed,
    )


def seen_channels(
    model: DiT,
    portrait: Portrait,
    last_latent: Tensor | None,
    like: Tensor,
    policy: Policy,
    positions: tuple[int, ...],
) -> Tensor:
    """What stands beside the noisy latents at these places, (B, F, condition_channels, H, W)."""
    if model.config.condition_channels == 0:
        return like[:, :, :0]
    if portrait.image_channels is not None:
        last = portrait.image_channels.shape[1] - 1
        places = [min(place, last) for place in positions]
        return torch.cat([portrait.image_channels[:, each : each + 1] for each in places], 1)
    return condition_channels(portrait.reference, last_latent, like, policy)


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
        speech: (1, F + 2 reach, tokens, dim): the chunk's embedded speech and its surroundings;
            of other models what their `project_audio` expects.
        controls: (1, F, num_controls) or None.
        state: Past of the session; not changed.
        policy: Noise levels and slots.
        seed: Key of the session's noise.
        epoch: Of the chunk; part of the noise's key.
        seq: Of the chunk; part of the noise's key.

    Returns:
        Latents (1, F, C, H, W) in the VAE's normalised space, and the next state.
    """
    return denoise(model, anchor, speech, controls, state, policy, [(seed, epoch, seq)])


def denoise(
    model: DiT,
    anchor: Anchor,
    speech: Tensor,
    controls: Tensor | None,
    state: RolloutState,
    policy: Policy,
    keys: Sequence[Key],
) -> tuple[Tensor, RolloutState]:
    """`denoise_chunk` of len(keys) sessions at once, of which everything given is a batch.

    Raises:
        ValueError: They see their pasts at different places in time.
    """
    reference = anchor.portrait.reference
    history = cached_latents(model, state, reference)
    place = {itinerary(policy, key, history) for key in keys}
    if len(place) != 1:
        raise ValueError("sessions at different places in time cannot be denoised together")
    [(where, *at_step)] = place
    noisy = batch_noise(policy, keys, 0, reference)
    condition = Condition(
        channels=seen_channels(
            model,
            anchor.portrait,
            state.last_latent,
            torch.empty_like(noisy),
            policy,
            where.current,
        ),
        audio=heard(model, speech, policy),
        face_mask=audio_mask(anchor.portrait, policy),
        controls=controls,
        fixed=anchor.fixed,
        pose=torch.zeros_like(noisy) if policy.still_pose else None,
    )
    clean = noisy
    written = []
    for step, sigma in enumerate(policy.sigmas):
        timestep = reference.new_full((len(keys),), 1000.0 * sigma)
        context = seen(anchor, state, step, policy, at_step[step])
        prediction, kv = model(noisy, timestep, condition, context, at_step[step].current)
        written.append(kv)
        clean = predicted_clean(prediction, noisy, sigma, model.config.prediction)
        if step + 1 < len(policy.sigmas):
            following = policy.sigmas[step + 1]
            if policy.update == "renoise":
                noise = batch_noise(policy, keys, step + 1, reference)
            else:
                noise = (noisy - (1 - sigma) * clean) / sigma
            noisy = add_noise(clean, noise, following)
    if policy.cache == "clean_pass":
        context = seen(anchor, state, 0, policy, where)
        still = reference.new_zeros(len(keys))
        written = [model(clean, still, condition, context, where.current)[1]]
    latents = from_model_space(model, clean, reference)
    kept = tuple(
        remembered(cache_of(state.previous, step) if state.previous else (), own, history, policy)
        for step, own in enumerate(written)
    )
    return latents, RolloutState(kept, clean[:, -1:])


def itinerary(policy: Policy, key: Key, history: int) -> tuple[Places, ...]:
    """Where everything is that a chunk sees: apart from its steps, and in each of them."""
    seed, epoch, seq = key
    steps = range(len(policy.sigmas))
    drawn_at = [policy.places(seq, history, drawn(seed, epoch, seq, step)) for step in steps]
    return policy.places(seq, history), *drawn_at


def batch_noise(policy: Policy, keys: Sequence[Key], step: int, reference: Tensor) -> Tensor:
    """(len(keys), F, C, H, W), each session's own."""
    shape = (1, policy.chunk_latents, *reference.shape[2:])
    each = [brought(session_noise(shape, policy, (*key, step)), reference) for key in keys]
    return each[0] if len(each) == 1 else torch.cat(each)


def cache_of(previous: Sequence[Sequence[KeyValue]], step: int) -> Sequence[KeyValue]:
    """What a step reads; after a chunk of fewer steps the later ones go by the last it wrote."""
    return previous[min(step, len(previous) - 1)]


def heard(model: DiT, speech: Tensor, policy: Policy) -> Tensor | None:
    """What the chunk's latents hear, or None of a model without speech."""
    config = model.config
    if config.s2v is not None and policy.audio_past == "restart":
        before = config.s2v.left_frames
        first = speech[:, before : before + 1].expand(-1, before, -1, -1)
        speech = torch.cat([first, speech[:, before:]], 1)
    speaks = config.audio or config.frame_audio or config.s2v
    return model.project_audio(speech) if speaks else None


def cached_latents(model: DiT, state: RolloutState, reference: Tensor) -> int:
    """Latents whose keys and values are remembered."""
    if not state.previous or not state.previous[0]:
        return 0
    tokens = reference.shape[-2] * reference.shape[-1] // model.config.patch**2
    return state.previous[0][0].key.shape[1] // tokens


def remembered(
    before: Sequence[KeyValue], own: Sequence[KeyValue], history: int, policy: Policy
) -> Sequence[KeyValue]:
    """Keys and values for the next chunk: this one's, after as many latents as are still seen."""
    keep = policy.history_latents - policy.chunk_latents
    if keep <= 0 or not before:
        return own
    tokens = before[0].key.shape[1] // history
    return [
        KeyValue(
            torch.cat([old.key[:, -keep * tokens :], new.key], 1),
            torch.cat([old.value[:, -keep * tokens :], new.value], 1),
        )
        for old, new in zip(before, own, strict=True)
    ]


def session_noise(
    shape: tuple[int, int, int, int, int], policy: Policy, key: tuple[int, int, int, int]
) -> Tensor:
    """(1, F, C, H, W) for `key`: seed, epoch, chunk and step, as the policy draws it."""
    seed, epoch, seq, step = key
    if policy.noise == "fresh":
        return chunk_noise(shape, seed, epoch, seq, step)
    B, _, C, H, W = shape
    return chunk_noise((B, 1, C, H, W), seed, 0, 0, step).expand(shape)


def seen(
    anchor: Anchor, state: RolloutState, step: int, policy: Policy, where: Places
) -> CachedContext:
    """What forward `step` of a chunk sees besides the chunk, as far as it is there."""
    context = past(anchor.sink, state.previous, step, policy, where)
    return context if anchor.sink_places is None else replace(context, places=anchor.sink_places)


def past(
    sink: Sequence[KeyValue],
    previous: Sequence[Sequence[KeyValue]],
    step: int,
    policy: Policy,
    where: Places | None = None,
) -> CachedContext:
    """Sink and previous chunk, of any batch; `where` is needed if the policy's places grow."""
    parts: tuple[Sequence[KeyValue], ...] = ()
    positions: tuple[int, ...] = ()
    if where is None:
        where = policy.places(0, 1 if previous else 0)
    if where.sink:
        parts, positions = (sink,), where.sink
    if previous and where.history:
        parts += (cache_of(previous, step if policy.cache == "per_step" else 0),)
        positions += where.history
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
