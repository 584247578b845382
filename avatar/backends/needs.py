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
from avatar.models.wav2vec2.config import Recipe, Wav2Vec2Config
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


@dataclass(frozen=True)
class CachedTokens:
    """Tokens whose keys and values a session keeps, by what they are of.

    `history` is of one of `copies`: a step may have a cache of its own.
    """

    sink: int
    history: int
    copies: int
    words: int
    """Of text and image."""

    @property
    def kept(self) -> int:
        return self.sink + self.copies * self.history + self.words

    @property
    def read(self) -> int:
        """By one forward, besides what it makes itself."""
        return self.sink + self.history + self.words


def cached_tokens(
    config: DiTConfig,
    policy: Policy,
    tokens: int,
    *,
    text_tokens: int = TEXT_TOKENS,
    image_tokens: int = IMAGE_TOKENS,
) -> CachedTokens:
    """In the steady state; `tokens` are those of a latent.

    The packed past of Wan-S2V is one and a half latents, and a few tokens.
    """
    sink = len(policy.sink_positions) * tokens + 3 * tokens * policy.sink_motion // 2
    copies = len(policy.sigmas) if policy.cache == "per_step" else 1
    words = text_tokens * bool(config.text_dim) + image_tokens * bool(config.image_dim)
    return CachedTokens(sink, policy.history_latents * tokens, copies, words)


def kv_bytes(config: DiTConfig, num_tokens: int, half: int) -> int:
    """Of keys and values of so many tokens in all layers."""
    return 2 * half * config.num_layers * config.dim * num_tokens


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
    cached = cached_tokens(config, policy, tokens)
    session = kv_bytes(config, cached.kept, half.itemsize)
    forward = _forward_bytes(config, policy, tokens, half.itemsize)
    is_fp8 = running.linears == "fp8"
    needs = [
        Need("weights", weight_bytes(model, half, fp8=is_fp8)),
        Need(f"keys and values of {running.slots} sessions", running.slots * session),
        Need("one forward", running.max_batch * forward),
        *_context(device),
    ]
    if running.capture == "graph" and device.type == "cuda":
        graphs = _graph_bytes(config, policy, tokens, half.itemsize)
        sizes = running.max_batch * (running.max_batch + 1) // 2
        needs.append(Need("CUDA graphs", sizes * graphs))
    return Plan("score_worker", device, needs, _ways_out(running, device, picture))


def _ways_out(running: Running, device: torch.device, picture: Picture) -> list[str]:
    ways = [f"fewer sessions at once (SLOTS, now {running.slots})"] if running.slots > 1 else []
    if running.max_batch > 1:
        ways.append(f"fewer in one forward (MAX_BATCH, now {running.max_batch})")
    if device.type == "cuda":
        if running.capture == "graph":
            ways.append("CAPTURE=compile, which copies no caches")
        if running.linears != "fp8":
            ways.append("LINEARS=fp8, where the GPU has 8-bit products")
        ways.append("another GPU (SCORE_DEVICE=cuda:1), the VAE on another (VAE_DEVICE)")
    return [*ways, f"a smaller picture than {picture.height} x {picture.width} or a smaller model"]


def _forward_bytes(config: DiTConfig, policy: Policy, tokens: int, half: int) -> int:
    """The new caches beside the old ones, and what a block works with."""
    cached, own = cached_tokens(config, policy, tokens), policy.chunk_latents * tokens
    caches = kv_bytes(config, cached.copies * cached.history, half)
    return caches + _work_bytes(config, own, own + cached.sink + cached.history, half)


def _work_bytes(config: DiTConfig, own: int, seen: int, half: int) -> int:
    """The largest of what a block works with.

    Rotated keys pass through float32, twice; so do the residual and its norm.
    """
    attention = config.dim * (seen * (2 * half + half + 2 * 4) + own * (2 * half + 2 * 4))
    feed_forward = 2 * half * own * config.ffn_dim
    residual = 3 * 4 * own * config.dim
    return residual + max(attention, feed_forward)


def _graph_bytes(config: DiTConfig, policy: Policy, tokens: int, half: int) -> int:
    """Of the recordings of one session's forwards, one for each length that its past may have.

    Each has copies of the caches that it reads, its own keys and values, and a pool of memory that
    no other may use.
    """
    cached, own = cached_tokens(config, policy, tokens), policy.chunk_latents * tokens
    total = 0
    for history in range(0, policy.history_latents + 1, policy.chunk_latents):
        seen = cached.sink + history * tokens
        total += kv_bytes(config, seen + cached.words + own, half)
        total += _work_bytes(config, own, own + seen, half)
    return total


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


def speech_plan(config: Wav2Vec2Config, weights: int, recipe: Recipe, device: torch.device) -> Plan:
    """wav2vec2 in float32, of so many bytes of weights; what a session has heard is on the host."""
    samples = recipe.window_frames * recipe.samples_per_frame
    # the first convolution makes the largest tensors, and its norm one more of the kind
    convolved = 3 * 4 * config.conv_dim * samples // config.conv_strides[0]
    tokens = max(config.num_tokens(samples), recipe.window_frames)
    states = 2 * 4 * (config.num_layers + 1) * tokens * config.dim
    attended = 2 * 4 * config.num_heads * tokens**2
    needs = [
        Need("weights", weights),
        Need("one window", max(convolved, states + attended)),
        *_context(device),
    ]
    return Plan("audio_encoder", device, needs, ["wav2vec2 elsewhere (ENCODER_DEVICE=cpu)"])


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
