"""How long does one chunk take in each stage, alone, on one thread?"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from avatar.audio.video import SOUND_RATE, Mp4Writer
from avatar.render import Pipeline, speech_chunks
from bench.clips import speech
from bench.options import Options
from bench.results import Values, bars, table
from bench.spec import SPEC, WARM_UP
from bench.stats import spread

ROWS = {
    "audio_encoder": "audio encoder",
    "score_worker": "DiT, the whole step",
    "forward_1": "of it the first forward",
    "forward_2": "of it the second forward",
    "vae_decoder": "VAE decoder",
    "h264": "H.264 and AAC",
}
STAGES = ("audio_encoder", "score_worker", "vae_decoder", "h264")


@dataclass
class Stopwatch:
    """Seconds of each repetition, by name: of the clock, and of this process on a core."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        started, cpu_started = time.perf_counter(), time.process_time()
        yield
        self.add(name, time.perf_counter() - started, time.process_time() - cpu_started)

    def add(self, name: str, wall_s: float, cpu_s: float) -> None:
        self.wall.setdefault(name, []).append(wall_s)
        self.cpu.setdefault(name, []).append(cpu_s)

    def told(self, warm_up: int = 0) -> dict[str, dict[str, float]]:
        """For each name the spread in milliseconds, and the median of the CPU time."""
        return {
            name: {
                **spread(self.wall[name][warm_up:], 1000),
                "cpu": spread(self.cpu[name][warm_up:], 1000)["median"],
            }
            for name in self.wall
        }


class ForwardTimes:
    """Times every forward of a model, from outside of it: `<name>_1`, `<name>_2` in each chunk."""

    def __init__(self, model: nn.Module, watch: Stopwatch, name: str) -> None:
        self._watch, self._name = watch, name
        self._number = 0
        self._wall = self._cpu = 0.0
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end)

    def next_chunk(self) -> None:
        self._number = 0

    def _begin(self, *_: object) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _end(self, *_: object) -> None:
        self._number += 1
        name = f"{self._name}_{self._number}"
        self._watch.add(name, time.perf_counter() - self._wall, time.process_time() - self._cpu)


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    pipeline = Pipeline.load()
    opening = Stopwatch()
    for _ in range(options.repetitions(10, 2)):
        with opening.time("score_worker"):
            pipeline.score.init_state(SPEC)
        with opening.time("vae_decoder"):
            pipeline.decoder.init_state(SPEC)
    watch = Stopwatch()
    count = options.repetitions(50, 4) + WARM_UP
    run_chunks(pipeline, count, watch)
    return {
        "chunk_ms": pipeline.clock.chunk_s * 1000,
        "forwards_a_chunk": sum(name.startswith("forward_") for name in watch.wall),
        "stages": watch.told(WARM_UP),
        "opening": opening.told(),
        "models": models(pipeline),
    }


def run_chunks(pipeline: Pipeline, count: int, watch: Stopwatch) -> None:
    """`count` chunks through all stages, one after the other, and into an mp4."""
    clock = pipeline.clock
    heard = pipeline.encoder.init_state(SPEC)
    scored = pipeline.score.init_state(SPEC)
    decoded = pipeline.decoder.init_state(SPEC)
    forwards = ForwardTimes(pipeline.score.model, watch, "forward")
    track = np.resize(speech(1.0), clock.samples_per_chunk(SOUND_RATE))
    with Mp4Writer(clock.fps) as video:
        for chunk in speech_chunks(speech(count * clock.chunk_s), clock):
            forwards.next_chunk()
            with watch.time("audio_encoder"):
                embedding, heard = pipeline.encoder.step(chunk, heard)
            with watch.time("score_worker"):
                latents, scored = pipeline.score.step(embedding, scored)
            with watch.time("vae_decoder"):
                frames, decoded = pipeline.decoder.step(latents, decoded)
            with watch.time("h264"):
                video.add(frames.frames, track)


def models(pipeline: Pipeline) -> dict[str, Any]:
    """Parameters and megabytes of each network, and the megabytes of all that ships."""
    folder = pipeline.score.profile.folder
    networks = {
        "audio_encoder": pipeline.encoder.model,
        "dit": pipeline.score.model,
        "vae": pipeline.decoder.model,
    }
    told: dict[str, Any] = {
        name: {
            "parameters": sum(each.numel() for each in model.parameters()),
            "megabytes": (folder / f"{name}.safetensors").stat().st_size / 1e6,
        }
        for name, model in networks.items()
    }
    files = [path for path in folder.rglob("*") if path.is_file()]
    told["all"] = {"megabytes": sum(path.stat().st_size for path in files) / 1e6}
    return told


def report(values: Values) -> str:
    chunk_ms, stages = values["chunk_ms"], values["stages"]
    rows = [
        (
            name,
            each["median"],
            each["p95"],
            each["least"],
            each["cpu"],
            f"{each['median'] / chunk_ms:.1%}",
        )
        for key, name in ROWS.items()
        if (each := stages.get(key))
    ]
    main = [stages[key]["median"] for key in STAGES]
    networks = [
        (name, f"{each['parameters'] / 1e6:.2f} M", each["megabytes"])
        for name, each in values["models"].items()
        if "parameters" in each
    ]
    forwards = values["forwards_a_chunk"]
    return "\n".join(
        [
            f"Milliseconds for one chunk, {chunk_ms:.0f} ms of media, each stage alone on one "
            f"thread, warm, {stages['score_worker']['count']} chunks.\n",
            table(["stage", "median", "p95", "least", "CPU, median", "share of the chunk"], rows),
            f"All stages on one core, one after the other: {chunk_ms / sum(main):.2f} times real "
            f"time. If the slowest stage alone set the pace: {chunk_ms / max(main):.2f} times.\n",
            bars([("DiT forwards a chunk, counted", forwards, "2", forwards == 2)]),
            "To open a session takes "
            f"{values['opening']['score_worker']['median']:.0f} ms for the sink's keys and values "
            f"and {values['opening']['vae_decoder']['median']:.0f} ms for the portrait's features, "
            "weights loaded.\n",
            table(["network", "parameters", "MB on disk"], networks),
            f"All files of the profile: {values['models']['all']['megabytes']:.1f} MB.",
        ]
    )
