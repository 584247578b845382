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


@dataclass(frozen=True)
class NextChunk:
    """What a session's next chunk is made of.

    `speech` is (1, F + 2 reach, tokens, dim), the chunk's embedded speech and its surroundings;
    `controls` (1, F, num_controls) or None. `key` is that of the noise: the session's seed, and
    the chunk's epoch and seq.
    """

    anchor: Anchor
    speech: Tensor
    controls: Tensor | None
    state: RolloutState
    key: tuple[int, int, int]


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
    """The next chunk of one session: `denoise_batch` with what is in a `NextChunk`."""
    wanted = NextChunk(anchor, speech, controls, state, (seed, epoch, seq))
    [made] = denoise_batch(model, [wanted], policy)
    return made


def denoise_batch(
    model: DiT, wanted: Sequence[NextChunk], policy: Policy
) -> list[tuple[Tensor, RolloutState]]:
    """The next chunk of each session, all with the same len(policy.sigmas) forwards.

    And one more for a clean pass. No session's state is changed.

    Returns:
        For each its latents (1, F, C, H, W) in the VAE's normalised space, and its next state.

    Raises:
        ValueError: Their pasts are of different numbers of steps, or some have none.
    """
    if len({len(each.state.previous) for each in wanted}) != 1:
        raise ValueError("sessions whose pasts differ in steps cannot be denoised together")
    anchor, past_kv = join_anchors([w.anchor for w in wanted]), _joined_past(wanted)
    reference = anchor.portrait.reference
    condition = Condition(
        channels=_condition_channels(wanted, policy),
        audio=model.project_audio(_joined([w.speech for w in wanted]))
        if model.config.audio
        else None,
        face_mask=audio_mask(anchor.portrait, policy),
        controls=None
        if wanted[0].controls is None
        else _joined([w.controls for w in wanted if w.controls is not None]),
        fixed=anchor.fixed,
    )

    def noise(step: int) -> Tensor:
        shape = (1, policy.chunk_latents, *reference.shape[2:])
        return _joined([session_noise(shape, policy, (*w.key, step)) for w in wanted]).to(reference)

    noisy = noise(0)
    clean = noisy
    written = []
    for step, sigma in enumerate(policy.sigmas):
        timestep = reference.new_full((len(wanted),), 1000.0 * sigma)
        context = past(anchor.sink, past_kv, step, policy)
        prediction, kv = model(noisy, timestep, condition, context, policy.current_positions)
        written.append(kv)
        clean = predicted_clean(prediction, noisy, sigma, model.config.prediction)
        if step + 1 < len(policy.sigmas):
            following = policy.sigmas[step + 1]
            if policy.update == "renoise":
                added = noise(step + 1)
            else:
                added = (noisy - (1 - sigma) * clean) / sigma
            noisy = add_noise(clean, added, following)
    if policy.cache == "clean_pass":
        context = past(anchor.sink, past_kv, 0, policy)
        still = reference.new_zeros(len(wanted))
        written = [model(clean, still, condition, context, policy.current_positions)[1]]
    latents = from_model_space(model, clean, reference)
    if len(wanted) == 1:
        return [(latents, RolloutState(tuple(written), clean[:, -1:]))]
    return [
        (
            latents[i : i + 1],
            RolloutState(
                # copies: a session must not keep the caches of all others alive
                tuple([_one(kv, i) for kv in layers] for layers in written),
                clean[i : i + 1, -1:].clone(),
            ),
        )
        for i in range(len(wanted))
    ]


def join_anchors(anchors: Sequence[Anchor]) -> Anchor:
    """Those of several sessions as one of a batch."""
    first = anchors[0]
    if len(anchors) == 1:
        return first
    portrait = Portrait(
        _joined([each.portrait.sink_latents for each in anchors]),
        _joined([each.portrait.face_mask for each in anchors]),
    )
    fixed = [
        tuple(_together(source) for source in zip(*layer, strict=True))
        for layer in zip(*(each.fixed for each in anchors), strict=True)
    ]
    return Anchor(portrait, _by_layer([each.sink for each in anchors]), fixed)


def _joined_past(wanted: Sequence[NextChunk]) -> tuple[Sequence[KeyValue], ...]:
    previous = [w.state.previous for w in wanted]
    if len(previous) == 1:
        return previous[0]
    return tuple(_by_layer(step) for step in zip(*previous, strict=True))


def _by_layer(sessions: Sequence[Sequence[KeyValue]]) -> list[KeyValue]:
    return [_together(layer) for layer in zip(*sessions, strict=True)]


def _together(sources: Sequence[KeyValue]) -> KeyValue:
    return KeyValue(torch.cat([s.key for s in sources]), torch.cat([s.value for s in sources]))


def _one(kv: KeyValue, index: int) -> KeyValue:
    return KeyValue(kv.key[index : index + 1].clone(), kv.value[index : index + 1].clone())


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _condition_channels(wanted: Sequence[NextChunk], policy: Policy) -> Tensor:
    made = []
    for w in wanted:
        reference = w.anchor.portrait.reference
        like = reference.new_empty(1, policy.chunk_latents, *reference.shape[2:])
        made.append(condition_channels(reference, w.state.last_latent, like, policy))
    return _joined(made)


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
        # after a chunk of fewer steps the later ones go by the last that it wrote
        parts += (previous[min(step, len(previous) - 1) if policy.cache == "per_step" else 0],)
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
