"""Measures, and writes bench/RESULTS.md: `python -m bench [--only NAME ...]`."""

import argparse
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import httpx
from playwright.async_api import Error as PlaywrightError

from avatar.errors import AvatarError
from bench.machine import Conditions, command_line, is_quiet, say
from bench.options import Options
from bench.results import Results
from talkingmachines import TalkError

FAILURES = (
    AvatarError, TalkError, OSError, subprocess.CalledProcessError, httpx.HTTPError,
    PlaywrightError,
)  # fmt: skip
BENCHMARKS = (
    "stages", "denoise", "hops", "graph", "capacity", "sessions", "quality", "speed", "footage",
    "music", "install", "contact", "live_latency", "live_av", "live_barge_in", "live_page",
    "live_two", "viewers", "load", "live_soak", "ablations",
)  # fmt: skip
USUAL = BENCHMARKS[:-1]
"""Without the ablations, which need the run of a training, and most of an hour."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, default=USUAL, metavar="NAME",
        help=f"some of {', '.join(BENCHMARKS)}",
    )  # fmt: skip
    parser.add_argument(
        "--brief", action="store_true", help="a few repetitions, to see it work; into var/bench"
    )
    parser.add_argument(
        "--venv", type=Path, default=Options.venv, help="whose size is told (default: .venv)"
    )
    parser.add_argument(
        "--install", action="store_true", help="time the set-up of a fresh clone, too: minutes"
    )
    parser.add_argument(
        "--run", type=Path, default=Options.run, help="ablations: start from this training run"
    )
    parser.add_argument(
        "--rows", type=lambda names: tuple(names.split(",")), default=(), metavar="NAME,NAME",
        help="ablations: make these again (default: all that are missing)",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    options = Options(given.brief, given.venv, given.install, given.run, given.rows)
    results = Results(options.folder)
    failed = []
    for name in [name for name in BENCHMARKS if name in given.only]:
        module = import_module(f"bench.{name}")
        say(f"{name}: {question_of(module)}")
        conditions = Conditions()
        try:
            values = module.measure(options)
        except FAILURES as error:  # what was measured before stays; the others are still measured
            say(f"{name}: failed: {error}")
            failed.append(name)
            continue
        told = conditions.told()
        told |= {"command": command_line(arguments), "brief": options.brief}
        results.put(name, told, values)
        results.write(BENCHMARKS, sections(results))
        say(f"{name}: {told['took_s']:.0f} s" + ("" if is_quiet(told) else ", on a busy machine"))
        print(f"\n{module.report(values)}", flush=True)
    if failed:
        say(f"failed: {', '.join(failed)}; their sections are as they were")
    return 1 if failed else 0


def sections(results: Results) -> dict[str, str]:
    """The Markdown of every benchmark that was ever run here."""
    return {
        name: _report(import_module(f"bench.{name}"), results, name)
        for name in BENCHMARKS
        if name in results.entries
    }


def _report(module: ModuleType, results: Results, name: str) -> str:
    try:
        body: str = module.report(results.entries[name]["values"])
    except KeyError as error:  # the benchmark has changed since, and measures something more
        body = f"Measured before the benchmark knew {error}: run it again."
    return f"*{question_of(module)}*\n\n{body}"


def question_of(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
