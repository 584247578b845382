"""Runs a profile with random weights on one device, and takes its times and memory."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.backends import TORCH, Attention, Capture, Linears, Running
from avatar.backends.capture import captured
from avatar.backends.device import Lane, lane_of
from avatar.backends.memory import Plan, free_memory
from avatar.backends.needs import Picture, decoder_plan, half_of, score_plan
from avatar.backends.numbers import check_fp8, half_where_it_counts, in_8_bits
from avatar.cast.characters import CAST
from avatar.cast.profiles import Profile
from avatar.cast.sampler import init_state
from avatar.engines.hearing import hearing_of
from avatar.engines.score import ScoreEngine, ScoreState
from avatar.engines.vae_decoder import State, VaeDecoderEngine
from avatar.media import (
    AudioEmbedding,
    FrameChunk,
    LatentChunk,
    SessionId,
    Stamp,
    Underway,
    on_host,
)
from avatar.models.dit import DiT
from avatar.models.dit.random_weights import draw_in_place
from avatar.models.vae import VAE
from avatar.sampling.rollout import Portrait, RolloutState, drop_anchor
from bench.denoise_budget import budget, decoder_of, gpu_named
from bench.denoise_profiles import Decoder, Measured
from bench.machine import ROOT
from bench.results import Values
from bench.stats import spread

WARM_UP = 3
SESSION = SessionId("bench")


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
    def running(self) -> Running:
        return Running("torch", str(self.device), self.linears, self.attention, self.capture)


class Stream:
    """One session on the engines that serve calls, of networks that no file holds."""

    def __init__(self, profile: Measured, how: How) -> None:
        """Build it on the device, with nothing of it on the host.

        Raises:
            Unavailable: A way to run it was asked for that this device does not have.
        """
        lane = lane_of(how.running, how.device)
        if how.linears == "fp8":
            check_fp8(how.device)
        self.profile, self.how = profile, how
        c, n, g = profile.model, profile.tokens_per_latent, torch.Generator().manual_seed(0)
        height, width = profile.size
        served = Profile(profile.name, profile.clock, profile.policy, height, width, ROOT)
        name = how.decoder or next(iter(profile.decoders))
        self.score = ScoreEngine(served, built_dit(profile, how), TORCH, lane)
        decoder, self.beside = built_decoder(profile.decoders[name], how), Lane(how.device)
        self.decoder = VaeDecoderEngine(served, decoder, TORCH, self.beside)
        self.lane, hearing = lane, hearing_of(c)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g)

        each = hearing.tokens_per_latent, hearing.dim
        self.tokens = draw(profile.policy.chunk_latents, *each).numpy()
        self.ahead = draw(hearing.lookahead_latents, *each).numpy()
        sinks = len(profile.policy.sink_positions)
        self.sink = draw(1, max(3, sinks), c.latent_channels, *profile.latent_size)
        channels = None
        if c.condition_channels not in (0, c.latent_channels):
            channels = draw(1, 21, c.condition_channels, *profile.latent_size)
        self.portrait = Portrait(self.sink[:, :sinks], torch.ones(1, n), channels)
        self.text = draw(1, profile.text_tokens, c.text_dim) if c.text_dim else None
        self.image = draw(1, profile.image_tokens, c.image_dim) if c.image_dim else None
        synchronize(how.device)  # weights were drawn in no lane

    def open(self) -> tuple[ScoreState, State]:
        """What a session needs once: keys and values of its portrait, a primed decoder."""
        take = self.lane.take
        with self.lane.open():
            portrait = replace(
                self.portrait,
                sink_latents=take(self.portrait.sink_latents),
                face_mask=take(self.portrait.face_mask),
                image_channels=taken(self.lane, self.portrait.image_channels),
            )
            text, image = (taken(self.lane, each) for each in (self.text, self.image))
            policy = self.profile.policy
            anchor = drop_anchor(self.score.model, portrait, policy, text=text, image=image)
        motion = init_state(0, CAST[0].temperament)
        with self.beside.open():
            decoder = self.decoder.model
            if isinstance(decoder, VAE):
                picture = torch.zeros(1, 3, *self.profile.size, device=self.how.device)
                return ScoreState(0, anchor, motion, RolloutState()), decoder.init_decoder(picture)
            primed = decoder.primed_decoder(self.beside.take(self.sink))
        return ScoreState(0, anchor, motion, RolloutState()), primed

    def denoise(self, state: ScoreState, seq: int) -> tuple[LatentChunk, ScoreState]:
        stamp = Stamp(SESSION, 0, seq, 0, self.profile.clock.pts(seq))
        return self.score.step(AudioEmbedding(stamp, self.tokens, self.ahead), state)

    def decode(self, latents: LatentChunk, state: State) -> tuple[FrameChunk, State]:
        return self.decoder.step(latents, state)


def taken(lane: Lane, tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else lane.take(tensor)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_profile(profile: Measured, how: How) -> Values:
    """Milliseconds, memory and shares of one profile, its sessions and its first frame."""
    check_memory(profile, how)
    gc.collect()
    if how.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(how.device)
    values = timed(Stream(profile, how))
    return values | shares(profile, how, values)


def timed(stream: Stream) -> Values:
    how, profile = stream.how, stream.profile
    ceiling = product_flops(stream)
    opened = scored, decoding = stream.open()
    for seq in range(WARM_UP):
        latents, scored = stream.denoise(scored, seq)
        _, decoding = stream.decode(latents, decoding)
    warm = scored, decoding
    score = each_ms(how, lambda: stream.denoise(scored, WARM_UP)[0].given)
    rows: Values = {
        "score_ms": score,
        "forward_ms": {
            name: each / profile.forwards for name, each in score.items() if name != "count"
        },
        "decoder_ms": each_ms(how, lambda: stream.decode(latents, decoding)[0].given),
        "one_after_the_other_ms": run_ms(stream, warm, overlapped=False),
        "first_frame_ms": whole_ms(how, lambda: first_chunk(stream, opened)),
        "open_ms": whole_ms(replace(how, chunks=min(3, how.chunks)), stream.open),
        "product_tflops": ceiling / 1e12,
    }
    if how.device.type == "cuda":
        rows["overlapped_ms"] = run_ms(stream, warm, overlapped=True)
        torch.cuda.empty_cache()
        rows["peak_gib"] = torch.cuda.max_memory_allocated(how.device) / 2**30
        rows["free_gib"] = free_memory(how.device) / 2**30
    return rows


def first_chunk(stream: Stream, opened: tuple[ScoreState, State]) -> None:
    """Of an opened session, to its frames on the host: a stage hands on whole chunks."""
    latents, _ = stream.denoise(opened[0], 0)
    on_host(stream.decode(latents, opened[1])[0].given)


def each_ms(how: How, work: Callable[[], NDArray[Any] | Underway]) -> dict[str, float]:
    """Of single repetitions, after one that is not counted; a device tells its own time."""
    work()
    times = []
    for _ in range(how.chunks):
        began = time.perf_counter()
        made = work()
        on_host(made)
        taken_s = time.perf_counter() - began
        times.append(1000 * (taken_s if isinstance(made, np.ndarray) else made.took_s()))
    return spread(times)


def whole_ms(how: How, work: Callable[[], object]) -> dict[str, float]:
    """Of single repetitions, from asking until the device stands still."""
    work()
    times = []
    for _ in range(how.chunks):
        synchronize(how.device)
        began = time.perf_counter()
        work()
        synchronize(how.device)
        times.append(1000 * (time.perf_counter() - began))
    return spread(times)


def run_ms(stream: Stream, begun: tuple[ScoreState, State], *, overlapped: bool) -> float:
    """Mean of a chunk, denoised, decoded and on the host, chunk after chunk."""
    synchronize(stream.how.device)
    began = time.perf_counter()
    for _ in run(stream, begun, overlapped=overlapped):
        pass
    return 1000 * (time.perf_counter() - began) / stream.how.chunks


def run(
    stream: Stream, begun: tuple[ScoreState, State], *, overlapped: bool
) -> Iterator[FrameChunk]:
    """Chunks as a stage makes them: one more is asked for before the last one's frames are here.

    Not `overlapped`, the host waits for the latents and for the frames of each.
    """
    scored, decoding = begun
    before: FrameChunk | None = None
    for seq in range(stream.how.chunks):
        latents, scored = stream.denoise(scored, WARM_UP + seq)
        if not overlapped:
            on_host(latents.given)
        frames, decoding = stream.decode(latents, decoding)
        if not overlapped:
            on_host(frames.given)
        if before is not None:
            yield arrived(before)
        before = frames
    if before is not None:
        yield arrived(before)


def arrived(chunk: FrameChunk) -> FrameChunk:
    return replace(chunk, given=chunk.frames)


def product_flops(stream: Stream) -> float:
    """Operations a second of one large product of this model's own shape: what could be had."""
    c, how = stream.profile.model, stream.how
    rows = stream.profile.tokens_per_latent * stream.profile.policy.chunk_latents
    half = half_of(how.device)
    x = torch.randn(rows, c.dim, device=how.device, dtype=half)
    w = torch.randn(c.dim, c.ffn_dim, device=how.device, dtype=half)
    repeat = max(1, int(2e9 / (rows * c.dim * c.ffn_dim)))

    def work() -> NDArray[Any] | Underway:
        with stream.lane.open():
            y = x @ w
            for _ in range(repeat - 1):
                y = x @ w
            return stream.lane.send(y[:1, :1].float())

    synchronize(how.device)
    taken_ms = each_ms(replace(how, chunks=max(5, how.chunks)), work)["median"]
    return repeat * 2.0 * rows * c.dim * c.ffn_dim / (taken_ms / 1000)


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
    plans = (
        score_plan(model, profile.policy, picture, how.running, how.device),
        decoder_plan(decoder, profile.model.latent_channels, picture, how.running, how.device),
    )
    needs = [need for plan in plans for need in plan.needs]
    Plan("denoise", how.device, needs, plans[0].ways_out).check()


def built_dit(profile: Measured, how: How) -> DiT:
    """Layer by layer, as a file is loaded: the whole in bfloat16 may be more than there is."""
    with torch.device("meta"):
        model = DiT(profile.model)
    numbers = half_where_it_counts(model, half_of(how.device))
    draw_in_place(model, how.device, numbers, in_8_bits if how.linears == "fp8" else None)
    return captured(model, how.capture, how.device)


def built_decoder(config: Decoder, how: How) -> Any:
    with torch.device("meta"):
        model: Any = decoder_of(config)
    statistics = {name: each for name, each in model.named_buffers() if not each.is_meta}
    if not isinstance(model, VAE):  # the default avatar's is small
        model.to(half_of(how.device))  # nothing is moved: there are no numbers yet
    model.to_empty(device=how.device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02 if parameter.ndim > 1 else 1.0)
        for name, buffer in model.named_buffers():
            # those that hold numbers of their own keep them
            buffer.copy_(statistics[name]) if name in statistics else buffer.fill_(1.0)
    return model.eval().requires_grad_(False)
