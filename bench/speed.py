"""What does one chunk of the default avatar cost on one core, and how much memory?"""

from collections.abc import Iterable

import torch

from avatar.render import Pipeline
from bench.chunk_cost import measure_speed
from bench.options import Options
from bench.quality import Row, at_most
from bench.results import Values, bars, table


def measure(options: Options) -> Values:
    torch.set_num_threads(1)
    return measure_speed(Pipeline.load(), options.repetitions(100, 6))


def report(values: Values) -> str:
    rows = [
        (name, values[name]["median"], values[name]["p95"], values[name]["most"])
        for name in ("score", "vae", "together")
    ]
    return "\n".join(
        [
            bars(list(bar_rows(values))),
            "Milliseconds of a chunk of speech, each stage in its own process, on one thread.\n",
            table(["", "p50", "p95", "most"], rows),
            f"Resident: score worker {values['score_rss_mb']:.0f} MB, VAE decoder "
            f"{values['vae_rss_mb']:.0f} MB. Score worker: {values['score_backend']}; VAE decoder: "
            f"{values['vae_backend']}.\n",
        ]
    )


def bar_rows(values: Values) -> Iterable[Row]:
    together = values["together"]
    yield at_most("one chunk on one core, ms", together["median"], 150)
    yield at_most("one chunk on one core, p95, ms", together["p95"], 200)
    memory = values["score_rss_mb"] + values["vae_rss_mb"]
    yield at_most("both processes, MB", memory, 1000)
