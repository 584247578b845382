"""How many sessions does a core carry, and does it pay to make chunks of several together?"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar.backends import Running, Wish
from avatar.cast.characters import CAST
from avatar.cast.profiles import load_profile
from avatar.engines import Spec
from avatar.engines.score import ScoreEngine, ScoreState
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.media import AudioEmbedding, LatentChunk
from avatar.models.vae import VAE, DecoderState
from avatar.models.vae.model import Reference
from avatar.render import Pipeline, speech_chunks
from bench.clips import speech
from bench.machine import say
from bench.options import Options
from bench.results import Values, bars, table
from bench.sessions_graph import measure_graph
from bench.spec import SPEC, WARM_UP
from bench.stats import spread

BATCHES = (1, 2, 4)
BACKENDS: tuple[Wish, ...] = ("openvino", "torch")


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    pipeline = Pipeline.load()
    count = options.repetitions(40, 4) + WARM_UP
    spoken = embeddings(pipeline, speech(count * pipeline.clock.chunk_s))
    silent = embeddings(pipeline, np.zeros_like(speech(count * pipeline.clock.chunk_s)))
    latents = [chunk for chunk, _ in rolled(pipeline.score, spoken)]
    score, decode = [], []
    for wish in BACKENDS:
        engine = ScoreEngine.load(load_profile("tiny"), Running(wish), max(BATCHES))
        decoder = VaeDecoderEngine.load(load_profile("tiny"), Running(wish))
        for size in BATCHES:
            say(f"sessions: {wish}, {size} together")
            score.append({"backend": wish, "batch": size, **score_row(engine, spoken, size)})
            if wish == "torch" or size == 1:  # there is no graph of the decoder for several
                row = decode_row(decoder, latents, size)
                decode.append({"backend": wish, "batch": size, **row})
    return {
        "chunk_ms": pipeline.clock.chunk_s * 1000,
        "score": score,
        "decode": decode,
        "kinds": kinds(spoken, silent),
        "memory_kb": memory(pipeline, spoken, latents),
        "graph": asyncio.run(measure_graph(float(options.repetitions(30, 4)))),
    }


def embeddings(pipeline: Pipeline, samples: Any) -> list[AudioEmbedding]:
    made, state = [], pipeline.encoder.init_state(SPEC)
    for chunk in speech_chunks(samples, pipeline.clock):
        embedding, state = pipeline.encoder.step(chunk, state)
        made.append(embedding)
    return made


def rolled(
    engine: ScoreEngine, chunks: Sequence[AudioEmbedding]
) -> list[tuple[LatentChunk, ScoreState]]:
    made, state = [], engine.init_state(SPEC)
    for chunk in chunks:
        latents, state = engine.step(chunk, state)
        made.append((latents, state))
    return made


def timed(work: Callable[[], Any], times: list[float]) -> Any:
    """CPU time: what another program took of the core is not ours."""
    began = time.process_time()
    made = work()
    times.append(time.process_time() - began)
    return made


def score_row(engine: ScoreEngine, chunks: Sequence[AudioEmbedding], size: int) -> Values:
    """Milliseconds of a chunk for one of `size` sessions that are made together."""
    states = [engine.init_state(Spec(CAST[i].id, i)) for i in range(size)]
    times: list[float] = []
    for chunk in chunks:
        made = timed(partial(engine.step_many, [chunk] * size, states), times)
        states = [state for _, state in made]
    return spread([each / size for each in times[WARM_UP:]], 1000)


def decode_row(engine: VaeDecoderEngine, chunks: Sequence[LatentChunk], size: int) -> Values:
    """The same of the VAE decoder."""
    states = [engine.init_state(Spec(CAST[i].id, i)) for i in range(size)]
    model, state = engine.model, joined([s for s in states if isinstance(s, DecoderState)])
    assert isinstance(model, VAE)
    times: list[float] = []
    with torch.inference_mode():
        for chunk in chunks:
            latents = torch.from_numpy(chunk.latents)[None].repeat(size, 1, 1, 1, 1)
            _, state = timed(partial(model.decode_parts, latents, state), times)
    return spread([each / size for each in times[WARM_UP:]], 1000)


def joined(states: Sequence[DecoderState]) -> DecoderState:
    """Those of several sessions as one of a batch."""
    last = [state.last_latent for state in states if state.last_latent is not None]
    references = [state.reference for state in states]
    eighth, quarter, half = (
        torch.cat(each) for each in zip(*(r.features for r in references), strict=True)
    )
    pixels = torch.cat([reference.pixels for reference in references])
    return DecoderState(torch.cat(last), Reference(pixels, (eighth, quarter, half)))


def kinds(spoken: Sequence[AudioEmbedding], silent: Sequence[AudioEmbedding]) -> list[Values]:
    """A chunk of the score worker while the avatar speaks, at rest, and light."""
    light = [replace(chunk, stamp=replace(chunk.stamp, is_light=True)) for chunk in spoken]
    return [
        {
            "backend": wish,
            "kind": kind,
            **score_row(ScoreEngine.load(load_profile("tiny"), Running(wish)), chunks, 1),
        }
        for wish in BACKENDS
        for kind, chunks in (("speaking", spoken), ("at rest", silent), ("light", light))
    ]


def memory(
    pipeline: Pipeline, spoken: Sequence[AudioEmbedding], latents: Sequence[LatentChunk]
) -> dict[str, float]:
    """Kilobytes of what a session that is under way keeps, by stage; weights are everybody's."""
    _, scored = rolled(pipeline.score, spoken[:2])[-1]
    _, decoded = pipeline.decoder.step(latents[0], pipeline.decoder.init_state(SPEC))
    return {"score_worker": kept_kb(scored), "vae_decoder": kept_kb(decoded)}


def kept_kb(state: object) -> float:
    """Of all tensors and arrays in a state, each once."""
    found: dict[int, int] = {}

    def visit(part: object) -> None:
        if isinstance(part, Tensor):
            storage = part.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(part, np.ndarray):
            found[id(part)] = part.nbytes
        elif is_dataclass(part):
            for each in fields(part):
                visit(getattr(part, each.name))
        elif isinstance(part, Sequence) and not isinstance(part, str):
            for one in part:
                visit(one)

    visit(state)
    return sum(found.values()) / 1000


def report(values: Values) -> str:
    chunk_ms = values["chunk_ms"]
    batch_rows = [
        (
            name, row["backend"], row["batch"], row["median"], row["least"],
            chunk_ms / row["median"], f"{row['median'] / first_of(values[key], row) - 1:+.0%}",
        )
        for key, name in (("score", "score worker"), ("decode", "VAE decoder"))
        for row in values[key]
    ]  # fmt: skip
    kind_rows = [
        (row["kind"], row["backend"], row["median"], row["least"], chunk_ms / row["median"])
        for row in values["kinds"]
    ]
    graph = values["graph"]
    one = {row["process"]: row for row in graph["processes"]}
    gateway = one["gateway"]["cores"]
    return "\n".join(
        [
            f"CPU milliseconds a chunk ({chunk_ms:.0f} ms of media) for one session of those made "
            "together, on one thread; sessions a core could carry if it did nothing else.\n",
            table(
                ["stage", "back end", "together", "ms, median", "least", "sessions a core",
                 "against alone"],
                batch_rows,
            ),
            "The score worker's chunk by what it shows:\n",
            table(["chunk", "back end", "ms, median", "least", "sessions a core"], kind_rows),
            f"The whole graph, of {graph['sizes']} calls at once whose avatars speak, and nobody: "
            "what one more adds to each process.\n",
            table(
                ["process", "cores a session", "sessions a core", "MB a session"],
                [
                    (row["process"], row["cores"], 1 / max(row["cores"], 1e-3), row["mb"])
                    for row in graph["processes"]
                ],
            ),
            f"State of a session: {values['memory_kb']['score_worker'] / 1000:.1f} MB in the score "
            f"worker, {values['memory_kb']['vae_decoder'] / 1000:.1f} MB in the VAE decoder. "
            f"A gateway opens and ends {graph['opens_per_s']:.1f} sessions a second, one after the "
            "other, with all five leases; a thousand at once: section \"capacity\".\n",
            bars([("a session's share of the gateway's core", gateway, "< 0.25", gateway < 0.25)]),
        ]
    )  # fmt: skip


def first_of(rows: Sequence[Values], row: Values) -> float:
    return float(
        next(r["median"] for r in rows if r["backend"] == row["backend"] and r["batch"] == 1)
    )
