"""Wan-S2V's reference and past frames: tokens that stand beside the noisy ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.models.dit.attention import KeyValue
from avatar.models.dit.model import MOTION, REFERENCE, Condition, DiT
from avatar.models.dit.rope import place_angles, rope_angles, turns_of

REFERENCE_POSITION = 30
"""In time, of the reference latent, as Wan-S2V was trained."""


@dataclass(frozen=True)
class References:
    """`latents` is (B, 1, C, H, W); `motion` (B, 19, C, H, W), oldest first, or None."""

    latents: Tensor
    motion: Tensor | None = None


def reference_tokens(model: DiT, references: References) -> tuple[Tensor, Tensor | None]:
    """Tokens (B, L, dim), motion's before the reference's, and the places of motion's, (L, 3)."""
    marks = model.trainable_cond_mask.weight
    still = model.patches(references.latents, model.patch_embedding).flatten(1, 2)
    still = still + marks[REFERENCE]
    if references.motion is None:
        return still, None
    packed, places = model.frame_packer(references.motion)
    return torch.cat([packed + marks[MOTION], still], 1), places


def reference_keys(
    model: DiT, references: References, fixed: Sequence[tuple[KeyValue, ...]], position: int
) -> tuple[list[KeyValue], Tensor | None]:
    """Un-roped keys and values of tokens that attend to one another alone, and motion's places.

    Exact where noisy tokens are not attended to, as in every causal model of the family.
    """
    tokens, places = reference_tokens(model, references)
    angles = _angles(model, references, position, places)
    time6 = _still_time(model, tokens)
    keys: list[KeyValue] = []
    _through(model, tokens[:, :, None], time6, angles, Condition(tokens, fixed=fixed), keys)
    return keys, places


def clip_with_references(
    model: DiT, latents: Tensor, timestep: Tensor, condition: Condition, references: References
) -> Tensor:
    """A whole clip as Wan2.2-S2V denoises it: every token attends to every other.

    `latents` is (B, F, C, H, W) at the places 0 to F - 1; answers with the velocity.
    """
    B, num_frames, _, H, W = latents.shape
    grid = (H // model.config.patch, W // model.config.patch)
    noisy = model.patches(latents, model.patch_embedding) + model.marks(condition)
    time, time6 = model.embed_time(timestep, num_frames, None)
    beside, places = reference_tokens(model, references)
    each = time6.repeat_interleave(noisy.shape[2], 1)  # a time for every token
    first = rope_angles(
        torch.arange(num_frames, device=latents.device), grid, model.config.head_dim
    )
    x = _through(
        model,
        torch.cat([noisy.flatten(1, 2), beside], 1)[:, :, None],
        torch.cat([each, _still_time(model, beside)], 1),
        torch.cat([first, _angles(model, references, REFERENCE_POSITION, places)]),
        condition,
        [],
    )
    made = x[:, : num_frames * noisy.shape[2], 0].unflatten(1, (num_frames, -1))
    return model.head(made, time, grid)


def _through(
    model: DiT,
    x: Tensor,
    time6: Tensor,
    angles: Tensor,
    condition: Condition,
    keys: list[KeyValue],
) -> Tensor:
    """Tokens (B, L, 1, dim), each with its own time (B, L, 6, dim), through all blocks."""
    turns = turns_of(angles)
    for i, block in enumerate(model.layers):
        modulation = block.modulation(time6)
        query, kv = block.before_attention(x, modulation)
        keys.append(kv)
        attended = block.attn1.attend(query, kv, turns, turns)
        fixed = condition.fixed[i] if condition.fixed else ()
        x = block.after_attention(x, attended, modulation, fixed, None, None)
        if condition.audio is not None:
            x = _heard(model, i, x, condition)
    return x


def _heard(model: DiT, layer: int, x: Tensor, condition: Condition) -> Tensor:
    """Speech acts on the noisy tokens, which come first."""
    assert condition.audio is not None
    _, num_frames, _, H, W = condition.channels.shape
    count = num_frames * (H // model.config.patch) * (W // model.config.patch)
    noisy = x[:, :count, 0].unflatten(1, (num_frames, -1))
    heard = model.inject(layer, noisy, condition.audio, condition.face_mask)
    return torch.cat([heard.flatten(1, 2)[:, :, None], x[:, count:]], 1)


def _still_time(model: DiT, tokens: Tensor) -> Tensor:
    """Reference and past frames are clean: (B, L, 6, dim) of timestep 0."""
    B, length, _ = tokens.shape
    return model.embed_time(tokens.new_zeros(B), 1, None)[1].expand(-1, length, -1, -1)


def _angles(model: DiT, references: References, position: int, places: Tensor | None) -> Tensor:
    H, W = references.latents.shape[-2:]
    p, head_dim = model.config.patch, model.config.head_dim
    at = torch.tensor([position], device=references.latents.device)
    still = rope_angles(at, (H // p, W // p), head_dim)
    return still if places is None else torch.cat([place_angles(places, head_dim), still])
