"""What the networks of a profile need on a device, by their geometry alone."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.backends import Running
from avatar.backends.memory import CONTEXT_BYTES, Need, Plan
from avatar.backends.numbers import half_where_it_counts, is_for_8_bits
from avatar.models.dit import DiT, DiTConfig
from avatar.models.taehv import TAEHV
from avatar.models.vae_wan import WanVAE
from avatar.sampling.policy import Policy

TEXT_TOKENS, IMAGE_TOKENS = 512, 257
VAE_STRIDE = 8


WanDecoder = WanVAE | TAEHV


@dataclass(frozen=True)
class Picture:
    """A picture's size in pixels."""

    height: int
    width: int

    def tokens(self, patch: int) -> int:
        """Of one latent frame."""
        return (self.height // VAE_STRIDE // patch) * (self.width // VAE_STRIDE // patch)


def weight_bytes(model: DiT, half: torch.dtype, *, fp8: bool = False) -> int:
    """As `half_where_it_counts` keeps them and, if so, the large layers of the blocks in 8 bits."""
    numbers = half_where_it_counts(model, half)
    total = sum(each.numel() * numbers(name).itemsize for name, each in model.state_dict().items())
    if fp8:
        large = [each for each in model.blocks.modules() if is_for_8_bits(each)]
        total -= sum(each.weight.numel() * (half.itemsize - 1) for each in large)
    return total


def score_plan(
    model: DiT,
    policy: Policy,
    picture: Picture,
    running: Running,
    device: torch.device,
) -> Plan:
    """Weights, keys and values of every session, and what one forward works with.

    `model` may be on the meta device.
    """
    half, config = half_of(device), model.config
    tokens = picture.tokens(config.patch)
    session = _session_bytes(config, policy, tokens, half.itemsize)
    is_fp8 = running.linears == "fp8"
    needs = [
        Need("weights", weight_bytes(model, half, fp8=is_fp8)),
        Need(f"keys and values of {running.slots} sessions", running.slots * session),
        Need("one forward", _forward_bytes(config, policy, tokens, half.itemsize)),
        *_context(device),
    ]
    ways = [f"fewer sessions at once (SLOTS, now {running.slots})"] if running.slots > 1 else []
    if device.type == "cuda":
        if not is_fp8:
            ways.append("LINEARS=fp8, where the GPU has 8-bit products")
        ways.append("another GPU (SCORE_DEVICE=cuda:1), the VAE on another (VAE_DEVICE)")
    ways.append(f"a smaller picture than {picture.height} x {picture.width} or a smaller model")
    return Plan("score_worker", device, needs, ways)


def _session_bytes(config: DiTConfig, policy: Policy, tokens: int, half: int) -> int:
    """Caches of the sink and the past chunks, and of text and image."""
    copies = len(policy.sigmas) if policy.cache == "per_step" else 1
    cached = _sink_tokens(policy, tokens) + copies * policy.history_latents * tokens
    words = TEXT_TOKENS * (config.text_dim is not None) + IMAGE_TOKENS * bool(config.image_dim)
    return 2 * half * config.num_layers * config.dim * (cached + words)


def _sink_tokens(policy: Policy, tokens: int) -> int:
    """The packed past of Wan-S2V is one and a half latents, and a few tokens."""
    return len(policy.sink_positions) * tokens + 3 * tokens * policy.sink_motion // 2


def _forward_bytes(config: DiTConfig, policy: Policy, tokens: int, half: int) -> int:
    """The new caches beside the old ones, and the largest of what a block works with.

    Rotated keys pass through float32, twice; so do the residual and its norm.
    """
    own = policy.chunk_latents * tokens
    seen = own + _sink_tokens(policy, tokens) + policy.history_latents * tokens
    copies = len(policy.sigmas) if policy.cache == "per_step" else 1
    caches = 2 * half * config.num_layers * config.dim * copies * policy.history_latents * tokens
    attention = config.dim * (seen * (2 * half + half + 2 * 4) + own * (2 * half + 2 * 4))
    feed_forward = 2 * half * own * config.ffn_dim
    residual = 3 * 4 * own * config.dim
    return caches + residual + max(attention, feed_forward)


def decoder_plan(
    decoder: WanDecoder, channels: int, picture: Picture, running: Running, device: torch.device
) -> Plan:
    """`decoder` is one of Wan's latents, on the meta device."""
    half = half_of(device).itemsize
    cache_bytes = decoder_cache_bytes(decoder, channels, picture, half)
    weights = sum(each.numel() for each in decoder.parameters()) * half
    widest = 96  # channels at full resolution of the largest decoder, in and out, for 4 frames
    work = 4 * picture.height * picture.width * widest * half * 4
    needs = [
        Need("weights", weights),
        Need(f"stream caches of {running.slots} sessions", running.slots * cache_bytes),
        Need("one latent", cache_bytes + work),
        *_context(device),
    ]
    ways = [f"fewer sessions at once (SLOTS, now {running.slots})"] if running.slots > 1 else []
    if not isinstance(decoder, TAEHV):
        ways.append("the tiny decoder (convert taew2.1, then profile --decoder tiny_vae)")
    if device.type == "cuda":
        ways.append("another GPU (VAE_DEVICE=cuda:1)")
    ways.append(f"a smaller picture than {picture.height} x {picture.width}")
    return Plan("vae_decoder", device, needs, ways)


def half_of(device: torch.device) -> torch.dtype:
    """In what networks compute there: CPUs have no fast half precision."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _context(device: torch.device) -> Sequence[Need]:
    return [Need("CUDA", CONTEXT_BYTES)] if device.type == "cuda" else []


def cache_bytes_of(state: object, half: int) -> int:
    """Of all tensors in a state, as it would be with `half` bytes a number."""
    if isinstance(state, Tensor):
        return state.numel() * half
    if isinstance(state, tuple | list):
        return sum(cache_bytes_of(each, half) for each in state)
    return sum(cache_bytes_of(each, half) for each in getattr(state, "__dict__", {}).values())


def decoder_cache_bytes(decoder: WanDecoder, channels: int, picture: Picture, half: int) -> int:
    """What a session's stream of latents keeps, by decoding two without numbers (meta device)."""
    latents = torch.empty(
        (1, 2, channels, picture.height // VAE_STRIDE, picture.width // VAE_STRIDE), device="meta"
    )
    with torch.inference_mode():
        without_numbers = deepcopy(decoder).to("meta")  # its statistics are real, and stay so
        return cache_bytes_of(without_numbers.primed_decoder(latents), half)
