"""Runs a profile with random weights on one device, and takes its times and memory."""

import gc
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel

from avatar.backends import Attention, Capture, Linears, Running
from avatar.backends.capture import captured
from avatar.backends.device import KERNELS, check_attention
from avatar.backends.memory import Plan, free_memory
from avatar.backends.needs import Picture, decoder_plan, score_plan
from avatar.backends.numbers import check_fp8, fp8_linears, half_where_it_counts
from avatar.models.dit import DiT
from avatar.models.dit.random_weights import draw_weights, empty_model
from avatar.models.vae import VAE
from avatar.sampling.rollout import (
    Anchor,
    Portrait,
    RolloutState,
    denoise_chunk,
    drop_anchor,
)
from bench.denoise_budget import budget, decoder_of, gpu_named
from bench.denoise_profiles import Decoder, Measured
from bench.denoise_queues import Beside
from bench.results import Values
from bench.stats import spread

WARM_UP = 3


@dataclass(frozen=True)
class How:
    """How a profile is run; see `avatar.backends.Running`."""

    device: torch.device
    attention: Attention = "auto"
    capture: Capture = "off"
    linears: Linears = "native"
    decoder: str = ""
    chunks: int = 20

    @property
    def half(self) -> torch.dtype:
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32


class Stream:
    """One session: its portrait, its past, and the network that goes on with it."""

    def __init__(self, profile: Measured, how: How) -> None:
        """Build it on the device, with nothing of it on the host.

        Raises:
            Unavailable: A way to run it was asked for that this device does not have.
        """
        check_attention(how.attention, how.device)
        if how.linears == "fp8":
            check_fp8(how.device)
        self.profile, self.how = profile, how
        self.model = built_dit(profile, how)
        name = how.decoder or next(iter(profile.decoders))
        self.decoder = built_decoder(profile.decoders[name], how)
        g = torch.Generator(how.device).manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, device=how.device)

        self.speech = draw(1, *speech_shape(profile))
        c, n = profile.model, profile.tokens_per_latent
        self.controls = draw(1, profile.policy.chunk_latents, c.num_controls)
        sink = draw(
            1, max(3, len(profile.policy.sink_positions)), c.latent_channels, *size(profile)
        )
        channels = None
        if c.condition_channels not in (0, c.latent_channels):
            channels = draw(1, 21, c.condition_channels, *size(profile))
        mask = torch.ones(1, n, device=how.device)
        sinks = sink[:, : len(profile.policy.sink_positions)]
        self.portrait, self.sink = Portrait(sinks, mask, channels), sink
        self.text = draw(1, profile.text_tokens, c.text_dim) if c.text_dim else None
        self.image = draw(1, profile.image_tokens, c.image_dim) if c.image_dim else None

    def open(self) -> tuple[Anchor, RolloutState, Any]:
        """What a session needs once: keys and values of its portrait, a primed decoder."""
        anchor = drop_anchor(
            self.model, self.portrait, self.profile.policy, text=self.text, image=self.image
        )
        if isinstance(self.decoder, VAE):
            height, width = self.profile.size
            picture = self.sink.new_zeros(1, 3, height, width)
            return anchor, RolloutState(), self.decoder.init_decoder(picture)
        with torch.autocast(self.how.device.type, enabled=False):
            primed = self.decoder.primed_decoder(self._of_decoder(self.sink))
        return anchor, RolloutState(), primed

    def denoise(self, anchor: Anchor, state: RolloutState, seq: int) -> tuple[Tensor, RolloutState]:
        controls = self.controls if self.profile.model.num_controls else None
        return denoise_chunk(
            self.model, anchor, self.speech, controls, state, self.profile.policy,
            seed=0, epoch=0, seq=seq,
        )  # fmt: skip

    def decode(self, latents: Tensor, state: Any) -> tuple[list[Tensor], Any]:
        with torch.autocast(self.how.device.type, enabled=False):  # all of it is in one type
            return self.decoder.decode_parts(self._of_decoder(latents), state)

    def _of_decoder(self, latents: Tensor) -> Tensor:
        return latents.to(next(self.decoder.parameters()).dtype)


def measure_profile(profile: Measured, how: How) -> Values:
    """Milliseconds, memory and shares of one profile, its sessions and its first frame."""
    check_memory(profile, how)
    gc.collect()
    if how.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(how.device)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if how.device.type == "cuda":
            stack.enter_context(torch.autocast("cuda", how.half))
            # nothing is recorded as a graph on the default stream
            stack.enter_context(torch.cuda.stream(torch.cuda.Stream(how.device)))
        if KERNELS[how.attention]:
            stack.enter_context(sdpa_kernel(KERNELS[how.attention]))
        stream = Stream(profile, how)
        values = timed(stream)
    return values | shares(profile, how, values)


def timed(stream: Stream) -> Values:
    how = stream.how
    ceiling = product_flops(stream)
    anchor, begun, decoding = stream.open()
    state, decoded = begun, decoding
    for seq in range(WARM_UP):
        latents, state = stream.denoise(anchor, state, seq)
        _, decoded = stream.decode(latents, decoded)
    warm = state
    forwards = len(stream.profile.policy.sigmas) + (stream.profile.policy.cache == "clean_pass")
    score = each_ms(how, lambda: stream.denoise(anchor, warm, WARM_UP))
    decode = each_ms(how, lambda: stream.decode(latents, decoded))
    rows: Values = {
        "score_ms": score,
        "forward_ms": {name: each / forwards for name, each in score.items() if name != "count"},
        "decoder_ms": decode,
        "one_after_the_other_ms": run_ms(stream, anchor, warm, decoded, overlapped=False),
        "first_frame_ms": each_ms(how, lambda: first_frame(stream, anchor, begun, decoding)),
        "open_ms": each_ms(replace(how, chunks=min(3, how.chunks)), stream.open),
        "product_tflops": ceiling / 1e12,
    }
    if how.device.type == "cuda":
        rows["overlapped_ms"] = run_ms(stream, anchor, warm, decoded, overlapped=True)
        torch.cuda.empty_cache()
        rows["peak_gib"] = torch.cuda.max_memory_allocated(how.device) / 2**30
        rows["free_gib"] = free_memory(how.device) / 2**30
    return rows


def first_frame(stream: Stream, anchor: Anchor, state: RolloutState, decoding: Any) -> list[Tensor]:
    """The first chunk of an opened session, and its first latent's frames."""
    latents, _ = stream.denoise(anchor, state, 0)
    return stream.decode(latents[:, :1], decoding)[0]


def each_ms(how: How, work: Callable[[], object]) -> dict[str, float]:
    """Of single repetitions, after one that is not counted."""
    work()
    times = []
    for _ in range(how.chunks):
        if how.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            began = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - began))
    return spread(times)


def run_ms(
    stream: Stream, anchor: Anchor, state: RolloutState, decoded: Any, *, overlapped: bool
) -> float:
    """Mean of a chunk, denoised and decoded, chunk after chunk, the host never waiting between."""
    lanes = Beside(stream.how.device, overlapped=overlapped)
    if stream.how.device.type == "cuda":
        torch.cuda.synchronize(stream.how.device)
    began, start = time.perf_counter(), lanes.mark()
    for seq in range(stream.how.chunks):
        with lanes.first():
            latents, state = stream.denoise(anchor, state, WARM_UP + seq)
        handed = lanes.hand_over(latents)
        with lanes.second():
            _, decoded = stream.decode(handed, decoded)
    lanes.join()
    end = lanes.mark()
    if start is not None and end is not None:
        end.synchronize()
        return start.elapsed_time(end) / stream.how.chunks
    return 1000 * (time.perf_counter() - began) / stream.how.chunks


def product_flops(stream: Stream) -> float:
    """Operations a second of one large product of this model's own shape: what could be had."""
    c, how = stream.profile.model, stream.how
    rows = stream.profile.tokens_per_latent * stream.profile.policy.chunk_latents
    x = torch.randn(rows, c.dim, device=how.device, dtype=how.half)
    w = torch.randn(c.dim, c.ffn_dim, device=how.device, dtype=how.half)
    repeat = max(1, int(2e9 / (rows * c.dim * c.ffn_dim)))

    def work() -> None:
        for _ in range(repeat):
            x @ w

    taken = each_ms(replace(how, chunks=max(5, how.chunks)), work)["median"]
    return repeat * 2.0 * rows * c.dim * c.ffn_dim / (taken / 1000)


def shares(profile: Measured, how: How, values: Values) -> Values:
    """Of what was counted in what was measured, and how many sessions a device has room for."""
    counted = budget(profile, how.decoder)
    score_s = values["score_ms"]["median"] / 1000
    reached = counted.chunk_flops / score_s / 1e12
    told: Values = {"tflops": reached, "of_own_products": reached / values["product_tflops"]}
    a_chunk: float = values.get("overlapped_ms") or values["one_after_the_other_ms"]
    told["sessions_by_time"] = math.floor(profile.chunk_ms / a_chunk)
    if how.device.type == "cuda":
        if (gpu := gpu_named(torch.cuda.get_device_name(how.device))) is not None:
            told["of_roofline"] = max(counted.least_ms(gpu)) / 1000 / score_s
        each = counted.session_kv_bytes + counted.decoder_state_bytes
        told["sessions_by_memory"] = 1 + math.floor(values["free_gib"] * 2**30 / each)
    return told


def check_memory(profile: Measured, how: How) -> None:
    """Raises Unavailable with the sum and the ways out where the device has too little."""
    with torch.device("meta"):
        model = DiT(profile.model)
        decoder = decoder_of(profile.decoders[how.decoder or next(iter(profile.decoders))])
    if isinstance(decoder, VAE):
        return  # a few megabytes
    picture = Picture(*profile.size)
    told = Running("torch", str(how.device), how.linears, how.attention, how.capture)
    plans = (
        score_plan(model, profile.policy, picture, told, how.device),
        decoder_plan(decoder, profile.model.latent_channels, picture, told, how.device),
    )
    needs = [need for plan in plans for need in plan.needs]
    Plan("denoise", how.device, needs, plans[0].ways_out).check()


def built_dit(profile: Measured, how: How) -> DiT:
    with torch.device("meta"):
        model = DiT(profile.model)
    in_half(model, how.half)
    empty_model(model, how.device)
    draw_weights(model)
    model.eval().requires_grad_(False)
    if how.linears == "fp8":
        fp8_linears(model.blocks)
    return captured(model, how.capture, how.device)


def built_decoder(config: Decoder, how: How) -> Any:
    with torch.device("meta"):
        model: Any = decoder_of(config)
    statistics = {name: each for name, each in model.named_buffers() if not each.is_meta}
    if not isinstance(model, VAE):  # the default avatar's is small
        model.to(how.half)  # nothing is moved: there are no numbers yet
    model.to_empty(device=how.device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02 if parameter.ndim > 1 else 1.0)
        for name, buffer in model.named_buffers():
            # those that hold numbers of their own keep them
            buffer.copy_(statistics[name]) if name in statistics else buffer.fill_(1.0)
    return model.eval().requires_grad_(False)


def in_half(model: nn.Module, half: torch.dtype) -> None:
    """What `half_where_it_counts` chooses, before there are any numbers."""
    kept = half_where_it_counts(model, half)
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(kept(name))


def speech_shape(profile: Measured) -> tuple[int, ...]:
    """Of what a chunk hears, as the model's `project_audio` takes it, without the batch."""
    c, latents = profile.model, profile.policy.chunk_latents
    if c.s2v is not None:
        frames = c.s2v.left_frames + c.s2v.frames_per_latent * latents
        return frames, c.s2v.audio_layers, c.s2v.audio_dim
    audio = c.audio
    if audio is None:
        return latents, 1, 1
    return latents + 2 * audio.reach, audio.tokens_per_latent, audio.dim


def size(profile: Measured) -> tuple[int, int]:
    return profile.latent_size
