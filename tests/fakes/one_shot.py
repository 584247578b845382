"""Everything a session was given, as one long sequence under a mask: no caches, no contexts.

What it is compared with keeps keys, rotates them when read and counts places in a policy; here
all tokens stand side by side, and the places follow from each checkpoint's description.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.models.dit import Condition, DiT
from avatar.models.dit.references import References, reference_tokens
from avatar.models.dit.rope import place_angles, rope_angles
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import Anchor, seen_channels

MISTAKES = ("sink", "window", "clean pass", "audio", "bias")


@dataclass(frozen=True)
class Call:
    """One forward of a chunk, as the serving path made it."""

    latents: Tensor
    timestep: Tensor
    condition: Condition
    prediction: Tensor


@dataclass(frozen=True)
class Geometry:
    """Where a checkpoint's chunks and sink are: `sink_at` of chunk and step, `start` of a chunk.

    And what else it was trained with: `motion` in its sink, `posed` latents. Nothing of this is
    read from its policy.
    """

    start: Callable[[int], int]
    sink_at: Callable[[int, int], int]
    history: int
    """Latents before a chunk."""
    motion: bool = False
    posed: bool = False


@dataclass
class Tokens:
    """Some tokens on their way through the blocks, (B, F, n, dim), and their time."""

    x: Tensor
    time6: Tensor
    time: Tensor


def one_shot(
    model: DiT,
    anchor: Anchor,
    policy: Policy,
    geometry: Geometry,
    calls: list[list[Call]],
    step: int,
    audio: Tensor,
    mistake: str = "",
) -> Tensor:
    """Predictions (B, N F, C, H, W) of forward `step` of all chunks; `calls[chunk][step]`.

    `audio` is what all of them hear, (B, N F, tokens, dim).
    """
    noisy = joined([each[step] for each in calls])
    wrote = joined([each[-1] for each in calls]) if policy.cache == "clean_pass" else noisy
    if mistake == "clean pass":
        wrote = noisy
    noisy, wrote = (given(each, audio, geometry, mistake) for each in (noisy, wrote))
    sink, sink_angles = sink_tokens(model, anchor, policy, geometry.motion)
    written, asking = embedded(model, wrote), embedded(model, noisy)
    N, n = len(calls), asking.x.shape[2]
    length = policy.chunk_latents * n
    grid = (noisy.latents.shape[-2] // 2, noisy.latents.shape[-1] // 2)
    head_dim = model.config.head_dim
    places = torch.cat([torch.arange(policy.chunk_latents) + geometry.start(j) for j in range(N)])
    angles = rope_angles(places, grid, head_dim)
    off = 1 if mistake == "sink" else 0
    sinks = torch.cat([sink_angles(geometry.sink_at(j, step) + off) for j in range(N)])
    count = sink.x.shape[1] * sink.x.shape[2]
    mask = visible(N, length, count, geometry.history // policy.chunk_latents, mistake)
    for i, block in enumerate(model.layers):
        parts = []
        for tokens in (sink, written, asking):
            parts.append(block.before_attention(tokens.x, block.modulation(tokens.time6)))
        (sink_q, sink_kv), (written_q, written_kv), (asking_q, asking_kv) = parts
        own = sink_angles(policy.sink_positions[0])
        seen = attend(model, sink_q, own, sink_kv.key, own, sink_kv.value, None)
        repeated = [each.repeat(1, N, 1) for each in sink_kv]
        answers = [seen]
        for query, kv in ((written_q, written_kv), (asking_q, asking_kv)):
            keys = torch.cat([repeated[0], written_kv.key, kv.key], 1)
            values = torch.cat([repeated[1], written_kv.value, kv.value], 1)
            every = torch.cat([sinks, angles, angles])
            answers.append(attend(model, query, angles, keys, every, values, mask))
        conditions = (replace(noisy.condition, audio=None), wrote.condition, noisy.condition)
        each_with_its = zip((sink, written, asking), answers, conditions, strict=True)
        for tokens, answer, condition in each_with_its:
            out = block.attn1.to_out[0](answer)
            fixed = condition.fixed[i] if condition.fixed else ()
            heard = None if model.config.s2v else condition.audio
            tokens.x = block.after_attention(
                tokens.x,
                out,
                block.modulation(tokens.time6),
                fixed,
                heard,
                condition.face_mask if heard is not None else None,
            )
            if model.config.s2v and condition.audio is not None:
                tokens.x = model.inject(i, tokens.x, condition.audio, condition.face_mask)
    return model.head(asking.x, asking.time, grid)


def joined(calls: list[Call]) -> Call:
    """One call of all chunks' latents."""
    conditions = [each.condition for each in calls]
    return Call(
        torch.cat([each.latents for each in calls], 1),
        calls[0].timestep,
        replace(
            conditions[0],
            channels=torch.cat([each.channels for each in conditions], 1),
        ),
        torch.cat([each.prediction for each in calls], 1),
    )


def given(call: Call, audio: Tensor, geometry: Geometry, mistake: str) -> Call:
    """The call with what the checkpoint hears and its pose, whatever the serving path gave it."""
    heard = audio.roll(1, 1) if mistake == "audio" else audio
    is_posed = geometry.posed != (mistake == "bias")
    pose = torch.zeros_like(call.latents) if is_posed else None
    return replace(call, condition=replace(call.condition, audio=heard, pose=pose))


def embedded(model: DiT, call: Call) -> Tokens:
    x = model.embed(call.latents, call.timestep, call.condition.channels, None)
    if model.config.s2v is not None:
        x = x + model.marks(call.condition)
    time, time6 = model.embed_time(call.timestep, call.latents.shape[1], None)
    return Tokens(x, time6, time)


def sink_tokens(
    model: DiT, anchor: Anchor, policy: Policy, has_motion: bool
) -> tuple[Tokens, Callable[[int], Tensor]]:
    """The sink's tokens, and its angles when its first place is a given one."""
    portrait = anchor.portrait
    latents = portrait.sink_latents
    grid = (latents.shape[-2] // 2, latents.shape[-1] // 2)
    head_dim = model.config.head_dim
    still = latents.new_zeros(1)
    if model.config.s2v is None:
        channels = seen_channels(model, portrait, None, latents, policy, (0, 1, 2))
        x = model.embed(latents, still, channels, None)
        time, time6 = model.embed_time(still, latents.shape[1], None)
        return Tokens(x, time6, time), lambda place: rope_angles(
            torch.arange(latents.shape[1]) + place, grid, head_dim
        )
    motion = portrait.motion_latents if has_motion else None
    flat, places = reference_tokens(model, References(latents[:, :1], motion))
    time, time6 = model.embed_time(still, flat.shape[1], None)

    def angles(place: int) -> Tensor:
        reference = rope_angles(torch.tensor([place]), grid, head_dim)
        return (
            reference if places is None else torch.cat([place_angles(places, head_dim), reference])
        )

    return Tokens(flat[:, :, None], time6, time), angles


def visible(num_chunks: int, length: int, sink: int, history: int, mistake: str) -> Tensor:
    """(N length, N sink + 2 N length): each chunk's sink, the chunks before it, and itself."""
    chunks = torch.arange(num_chunks)
    own = chunks[:, None] == chunks[None]
    far = history + (1 if mistake == "window" else 0)
    before = (chunks[None] < chunks[:, None]) & (chunks[None] >= chunks[:, None] - far)
    blocks = [own.repeat_interleave(sink, 1)]
    blocks += [each.repeat_interleave(length, 1) for each in (before, own)]
    return torch.cat(blocks, 1).repeat_interleave(length, 0)


def attend(
    model: DiT,
    query: Tensor,
    query_angles: Tensor,
    key: Tensor,
    key_angles: Tensor,
    value: Tensor,
    mask: Tensor | None,
) -> Tensor:
    heads = model.config.num_heads
    q, k = turned(query, query_angles, heads), turned(key, key_angles, heads)
    v = value.unflatten(-1, (heads, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def turned(x: Tensor, angles: Tensor, heads: int) -> Tensor:
    """(B, L, dim) -> (B, heads, L, head_dim), each pair of features turned as a complex number."""
    pairs = torch.view_as_complex(x.unflatten(-1, (heads, -1, 2)).double())
    spun = pairs * torch.polar(torch.ones_like(angles), angles).to(torch.complex128)[:, None]
    return torch.view_as_real(spun).flatten(-2).float().transpose(1, 2)
