"""The next chunks of several sessions, made in common forwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.models.dit import DiT, KeyValue
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import (
    Anchor,
    Key,
    Portrait,
    RolloutState,
    cached_latents,
    denoise,
    itinerary,
)


@dataclass(frozen=True)
class NextChunk:
    """What a session's next chunk is made of: the arguments of `denoise_chunk`."""

    anchor: Anchor
    speech: Tensor
    controls: Tensor | None
    state: RolloutState
    key: Key


def alike(model: DiT, wanted: NextChunk, policy: Policy) -> tuple[object, ...]:
    """Chunks for which this is equal may be made together."""
    history = cached_latents(model, wanted.state, wanted.anchor.portrait.reference)
    places = itinerary(policy, wanted.key, history)
    return policy, len(wanted.state.previous), history, places, _sizes(wanted.anchor)


def _sizes(anchor: Anchor) -> tuple[object, ...]:
    """Of what does not change: of one avatar's text there may be more than of another's."""
    channels = anchor.portrait.image_channels
    sources = [each.key.shape for layer in anchor.fixed[:1] for each in layer]
    sink = [each.key.shape for each in anchor.sink[:1]]
    return None if channels is None else channels.shape, *sink, *sources


def denoise_batch(
    model: DiT, wanted: Sequence[NextChunk], policy: Policy
) -> list[tuple[Tensor, RolloutState]]:
    """The next chunk of each session. No session's state is changed.

    Returns:
        For each its latents (1, F, C, H, W) in the VAE's normalised space, and its next state.

    Raises:
        ValueError: They are not `alike`.
    """
    if len({alike(model, each, policy) for each in wanted}) != 1:
        raise ValueError("sessions whose pasts differ in steps, places or sizes are denoised apart")
    latents, state = denoise(
        model,
        _anchor([each.anchor for each in wanted]),
        _joined([each.speech for each in wanted]),
        _joined_if_any([each.controls for each in wanted]),
        _state([each.state for each in wanted]),
        policy,
        [each.key for each in wanted],
    )
    if len(wanted) == 1:
        return [(latents, state)]
    return [(latents[i : i + 1], _one(state, i)) for i in range(len(wanted))]


def _anchor(anchors: Sequence[Anchor]) -> Anchor:
    first = anchors[0]
    if len(anchors) == 1:
        return first
    portraits = [each.portrait for each in anchors]
    portrait = Portrait(
        _joined([each.sink_latents for each in portraits]),
        _joined([each.face_mask for each in portraits]),
        _joined_if_any([each.image_channels for each in portraits]),
        _joined_if_any([each.motion_latents for each in portraits]),
    )
    fixed = [
        tuple(_together(source) for source in zip(*layer, strict=True))
        for layer in zip(*(each.fixed for each in anchors), strict=True)
    ]
    return replace(
        first, portrait=portrait, sink=_by_layer([each.sink for each in anchors]), fixed=fixed
    )


def _state(states: Sequence[RolloutState]) -> RolloutState:
    if len(states) == 1:
        return states[0]
    previous = [_by_layer(step) for step in zip(*(each.previous for each in states), strict=True)]
    return RolloutState(tuple(previous), _joined_if_any([each.last_latent for each in states]))


def _one(state: RolloutState, index: int) -> RolloutState:
    """Of one session; copies, so that it does not keep the caches of all others alive."""

    def own(tensor: Tensor) -> Tensor:
        return tensor[index : index + 1].clone()

    previous = tuple(
        [KeyValue(own(kv.key), own(kv.value)) for kv in step] for step in state.previous
    )
    return RolloutState(previous, None if state.last_latent is None else own(state.last_latent))


def _by_layer(sessions: Sequence[Sequence[KeyValue]]) -> list[KeyValue]:
    return [_together(layer) for layer in zip(*sessions, strict=True)]


def _together(sources: Sequence[KeyValue]) -> KeyValue:
    return KeyValue(torch.cat([s.key for s in sources]), torch.cat([s.value for s in sources]))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _joined_if_any(parts: Sequence[Tensor | None]) -> Tensor | None:
    """All are there, or none is: they are of one model."""
    there = [each for each in parts if each is not None]
    return _joined(there) if there else None
