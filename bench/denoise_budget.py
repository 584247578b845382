"""What a chunk costs by its shapes alone: operations, bytes, caches; nothing is run for it."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from avatar.backends.needs import cache_bytes_of, cached_tokens, kv_bytes
from avatar.models.dit import DiT, DiTConfig
from avatar.models.taehv import TAEHV
from avatar.models.vae import VAE, VAEConfig
from avatar.models.vae_wan import WanVAE, WanVAEConfig
from bench.denoise_profiles import Decoder, Measured

CONTROLS_HIDDEN = 128
HALF = 2
"""Bytes of a number on a GPU."""
TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Gpu:
    """Of the vendor's data sheet: dense products in bfloat16 a second, and bytes a second."""

    flops: float
    bandwidth: float


GPUS = {
    "H200": Gpu(989e12, 4.8e12),
    "H100": Gpu(989e12, 3.35e12),
    "H20": Gpu(148e12, 4.0e12),
    "A100": Gpu(312e12, 2.0e12),
    "L40S": Gpu(362e12, 0.864e12),
    "4090": Gpu(165e12, 1.008e12),
}
"""By a part of the name that the driver gives them."""
REFERENCE_GPU = "H200"


def gpu_named(name: str) -> Gpu | None:
    """The one whose name is part of what the driver calls it."""
    return next((gpu for part, gpu in GPUS.items() if part in name), None)


@dataclass(frozen=True)
class Budget:
    """Of one session in its steady state: sink and history are there.

    Operations are multiplications and additions, two for each pair. `attention` is of the products
    of queries with keys and of weights with values; `linear` all that multiplies by weights.
    """

    linear_flops: float
    attention_flops: float
    once_a_chunk_flops: float
    decoder_flops: float
    forwards: int
    parameters: int
    weight_bytes: int
    read_kv_bytes: int
    """Of one forward."""
    session_kv_bytes: int
    """Sink, history of every step, text and image."""
    decoder_state_bytes: int

    @property
    def forward_flops(self) -> float:
        return self.linear_flops + self.attention_flops

    @property
    def chunk_flops(self) -> float:
        return self.forwards * self.forward_flops + self.once_a_chunk_flops

    @property
    def forward_bytes(self) -> int:
        """Weights and keys and values, each read once; activations stay near the processor."""
        return self.weight_bytes + self.read_kv_bytes

    def least_ms(self, gpu: Gpu) -> tuple[float, float]:
        """Of a chunk's denoising: by operations alone, and by bytes alone."""
        moved = self.forwards * self.forward_bytes
        return 1000 * self.chunk_flops / gpu.flops, 1000 * moved / gpu.bandwidth


def budget(profile: Measured, decoder: str = "") -> Budget:
    """`decoder` is a name of the profile's; the usual one if empty."""
    c, policy, n = profile.model, profile.policy, profile.tokens_per_latent
    own = policy.chunk_latents * n
    cached = cached_tokens(
        c, policy, n, text_tokens=profile.text_tokens, image_tokens=profile.image_tokens
    )
    seen, words = own + cached.sink + cached.history, cached.words
    parameters = count_parameters(c)
    config = profile.decoders[decoder or next(iter(profile.decoders))]
    decoded, state = decoder_cost(config, profile.latent_size, policy.chunk_latents)
    return Budget(
        linear_flops=linear_flops(profile, own),
        attention_flops=attention_flops(profile, own, seen, words),
        once_a_chunk_flops=audio_flops(c, policy.chunk_latents),
        decoder_flops=decoded,
        forwards=profile.forwards,
        parameters=parameters,
        weight_bytes=HALF * parameters,
        read_kv_bytes=kv_bytes(c, cached.read, HALF),
        session_kv_bytes=kv_bytes(c, cached.kept, HALF),
        decoder_state_bytes=state,
    )


def linear_flops(profile: Measured, own: int) -> float:
    """Of one forward over `own` tokens; what is computed once a session is not in it."""
    c, F = profile.model, profile.policy.chunk_latents
    d = c.dim
    self_attention = 4 * own * d * d
    cross_attention = 2 * own * d * d  # queries and output
    feed_forward = 2 * own * d * c.ffn_dim
    layers = c.num_layers * (self_attention + cross_attention + feed_forward)
    if c.audio is not None:  # keys and values of what is heard
        heard = F * c.audio.context_tokens
        layers += c.num_layers * 2 * heard * c.audio.context_dim * d
    if c.s2v is not None:
        # after some of the blocks: modulation from the global token, attention to the local ones
        heard = F * (c.s2v.audio_tokens + 1)
        each = 2 * own * d * d + 2 * heard * d * d + F * d * 2 * d
        layers += len(c.s2v.inject_layers) * each
    patch = c.patch**2
    outside = own * patch * d * (c.latent_channels + c.condition_channels + c.latent_channels)
    outside += c.frequency_dim * d + d * d + F * 6 * d * d
    if c.num_controls:
        outside += F * (c.num_controls * d + d * d)
    if c.num_controls and c.grid is not None:
        hidden = CONTROLS_HIDDEN
        outside += F * hidden * (c.num_controls + c.grid[0] * c.grid[1] * d)
    return 2.0 * (layers + outside)


def attention_flops(profile: Measured, own: int, seen: int, words: int) -> float:
    c = profile.model
    keys = c.num_layers * (seen + words)
    if c.audio is not None:
        keys += c.num_layers * c.audio.context_tokens
    if c.s2v is not None:
        keys += len(c.s2v.inject_layers) * (c.s2v.audio_tokens + 1)
    return 4.0 * own * keys * c.dim


def audio_flops(config: DiTConfig, num_latents: int) -> float:
    """Of the audio projection module."""
    if config.audio is None:
        return 0.0
    a = config.audio
    code = a.code_dim or a.hidden_dim
    window = a.window_latents * a.tokens_per_latent * a.dim
    each = window * a.hidden_dim + a.hidden_dim * code + code * a.context_tokens * a.context_dim
    return 2.0 * num_latents * each


def count_parameters(config: DiTConfig) -> int:
    with torch.device("meta"):
        return sum(each.numel() for each in DiT(config).parameters())


@cache
def decoder_cost(
    config: Decoder, latent_size: tuple[int, int], num_latents: int
) -> tuple[float, int]:
    """Operations of a chunk in the middle of a stream, and bytes of its state; on no device."""
    with torch.device("meta"), torch.no_grad():
        model, state = opened(config, latent_size, torch.device("meta"))
        latents = torch.empty(1, num_latents, config.latent_channels, *latent_size)
        with FlopCounterMode(display=False) as counter:
            model.decode_parts(latents, state)
    return float(counter.get_total_flops()), cache_bytes_of(state, HALF)


def opened(config: Decoder, latent_size: tuple[int, int], device: torch.device) -> tuple[Any, Any]:
    """A decoder without weights yet, and its state after a sink of three latents, on `device`."""
    sink = torch.zeros(1, 3, config.latent_channels, *latent_size, device=device)
    model = decoder_of(config).to(device)
    if isinstance(model, VAE):
        picture = torch.zeros(1, 3, 8 * latent_size[0], 8 * latent_size[1], device=device)
        return model, model.init_decoder(picture)
    return model, model.primed_decoder(sink)


def decoder_of(config: Decoder) -> VAE | WanVAE | TAEHV:
    if isinstance(config, VAEConfig):
        return VAE(config)
    return WanVAE(config) if isinstance(config, WanVAEConfig) else TAEHV(config)
