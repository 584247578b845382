"""What one chunk costs: score worker and VAE decoder, each in a process of its own.

Those processes import this module, so it loads no library that their stage does not need.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Literal

import psutil  # type: ignore[import-untyped]  # has no types
import torch

from avatar.cast.profiles import load_profile
from avatar.engines.score import ScoreEngine
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.media import AudioEmbedding, LatentChunk
from bench.spec import SPEC, WARM_UP
from bench.stats import spread

if TYPE_CHECKING:
    from avatar.render import Pipeline
    from bench.results import Values


@dataclass(frozen=True)
class Cost:
    """Seconds of each chunk, the process's resident megabytes after the last, and what ran it."""

    seconds: list[float]
    rss_mb: float
    backend: str


def measure_speed(pipeline: Pipeline, count: int) -> Values:
    """Milliseconds of `count` chunks, stage by stage and together, memory, and the back ends."""
    embeddings, latents = record(pipeline, count + WARM_UP)
    score = in_own_process("score", embeddings)
    vae = in_own_process("vae", latents)
    together = [a + b for a, b in zip(score.seconds, vae.seconds, strict=True)]
    return {
        name: spread(seconds[WARM_UP:], 1000)
        for name, seconds in (
            ("score", score.seconds),
            ("vae", vae.seconds),
            ("together", together),
        )
    } | {
        "score_rss_mb": score.rss_mb,
        "vae_rss_mb": vae.rss_mb,
        "score_backend": score.backend,
        "vae_backend": vae.backend,
    }


def record(pipeline: Pipeline, count: int) -> tuple[list[AudioEmbedding], list[LatentChunk]]:
    """What both stages are given for `count` chunks of speech."""
    from avatar.render import speech_chunks
    from bench.clips import speech

    heard = pipeline.encoder.init_state(SPEC)
    scored = pipeline.score.init_state(SPEC)
    embeddings, latents = [], []
    for chunk in speech_chunks(speech(count * pipeline.clock.chunk_s), pipeline.clock):
        embedding, heard = pipeline.encoder.step(chunk, heard)
        made, scored = pipeline.score.step(embedding, scored)
        embeddings.append(embedding)
        latents.append(made)
    return embeddings[:count], latents[:count]


def in_own_process(
    stage: Literal["score", "vae"], chunks: Sequence[AudioEmbedding] | Sequence[LatentChunk]
) -> Cost:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (stage, list(chunks)))


def _run(stage: Literal["score", "vae"], chunks: list[AudioEmbedding] | list[LatentChunk]) -> Cost:
    torch.set_num_threads(1)
    seconds = []
    if stage == "score":
        score = ScoreEngine.load(load_profile("tiny"))
        backend = score.backend
        scored = score.init_state(SPEC)
        for embedding in chunks:
            assert isinstance(embedding, AudioEmbedding)
            began = time.perf_counter()
            _, scored = score.step(embedding, scored)
            seconds.append(time.perf_counter() - began)
    else:
        vae = VaeDecoderEngine.load(load_profile("tiny"))
        backend = vae.backend
        decoded = vae.init_state(SPEC)
        for latents in chunks:
            assert isinstance(latents, LatentChunk)
            began = time.perf_counter()
            _, decoded = vae.step(latents, decoded)
            seconds.append(time.perf_counter() - began)
    return Cost(seconds, psutil.Process().memory_info().rss / 1e6, str(backend))
