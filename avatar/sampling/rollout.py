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


@dataclass(frozen=True)
class NextChunk:
    """What a session's next chunk is made of.

    `speech` is (1, F + 2 reach, tokens, dim), the chunk's embedded speech and its surroundings; of
    other models what their `project_audio` expects. `controls` is (1, F, num_controls) or None.
    `key` is that of the noise: the session's seed, and the chunk's epoch and seq.
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
        ValueError: Their pasts are of different numbers of steps, or some have none; or several are
            given of a policy whose places grow, which differ from session to session.
    """
    if len({len(each.state.previous) for each in wanted}) != 1:
        raise ValueError("sessions whose pasts differ in steps cannot be denoised together")
    if len(wanted) > 1 and policy.absolute is not None:
        raise ValueError("sessions whose places in time grow are denoised one by one")
    anchor, past_kv = join_anchors([w.anchor for w in wanted]), _joined_past(wanted)
    reference, seq = anchor.portrait.reference, wanted[0].key[2]
    history = cached_latents(model, wanted[0].state, reference)
    where = policy.places(seq, history)

    def noise(step: int) -> Tensor:
        shape = (1, policy.chunk_latents, *reference.shape[2:])
        drawn_alone = [session_noise(shape, policy, (*w.key, step)) for w in wanted]
        return brought(_joined(drawn_alone), reference)

    noisy = noise(0)
    condition = Condition(
        channels=_seen_together(model, wanted, policy, where.current),
        audio=heard(model, _joined([w.speech for w in wanted]), policy),
        face_mask=audio_mask(anchor.portrait, policy),
        controls=None
        if wanted[0].controls is None
        else _joined([w.controls for w in wanted if w.controls is not None]),
        fixed=anchor.fixed,
        pose=torch.zeros_like(noisy) if policy.still_pose else None,
    )
    clean = noisy
    written = []
    for step, sigma in enumerate(policy.sigmas):
        timestep = reference.new_full((len(wanted),), 1000.0 * sigma)
        where = policy.places(seq, history, drawn(*wanted[0].key, step))
        context = seen(anchor, past_kv, step, policy, where)
        prediction, kv = model(noisy, timestep, condition, context, where.current)
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
        where = policy.places(seq, history)
        context = seen(anchor, past_kv, 0, policy, where)
        still = reference.new_zeros(len(wanted))
        written = [model(clean, still, condition, context, where.current)[1]]
    latents = from_model_space(model, clean, reference)
    kept = tuple(
        # after a chunk of fewer steps the later ones go by the last that it wrote
        remembered(past_kv[min(i, len(past_kv) - 1)] if past_kv else (), own, history, policy)
        for i, own in enumerate(written)
    )
    if len(wanted) == 1:
        return [(latents, RolloutState(kept, clean[:, -1:]))]
    return [
        (
            latents[i : i + 1],
            RolloutState(
                # copies: a session must not keep the caches of all others alive
                tuple([_one(kv, i) for kv in layers] for layers in kept),
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


def _seen_together(
    model: DiT, wanted: Sequence[NextChunk], policy: Policy, places: tuple[int, ...]
) -> Tensor:
    """`seen_channels` of each."""
    made = []
    for w in wanted:
        portrait = w.anchor.portrait
        like = portrait.reference.new_empty(
            (1, policy.chunk_latents, *portrait.reference.shape[2:])
        )
        made.append(seen_channels(model, portrait, w.state.last_latent, like, policy, places))
    return _joined(made)


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
    anchor: Anchor,
    previous: Sequence[Sequence[KeyValue]],
    step: int,
    policy: Policy,
    where: Places,
) -> CachedContext:
    """What forward `step` of a chunk sees besides the chunk, as far as it is there."""
    context = past(anchor.sink, previous, step, policy, where)
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
        # after a chunk of fewer steps the later ones go by the last that it wrote
        parts += (previous[min(step, len(previous) - 1) if policy.cache == "per_step" else 0],)
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
