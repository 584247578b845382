"""What must be seen on a GPU, in one command of some minutes: `python -m bench.gpu_check`.

The tests of tests/gpu, then the profiles that have a bar, as they come and as the bar says. Every
part has a limit of its own and leaves what it found in the folder; a part that fails or takes too
long costs no other. Without a GPU parts say that they were not run; `--toy` runs them all the same,
at sizes for a CPU.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.denoise_profiles import PROFILES
from bench.machine import ROOT, Conditions, say
from bench.results import table, told

LIMIT_S = 460
"""Of all parts together."""
FOLDER = ROOT / "var" / "gpu"
NO_TIME = "not run: no time left"
FAILED = ("failed", "stopped", NO_TIME)
"""How the state of a part begins that was to be seen, and was not."""


@dataclass(frozen=True)
class Part:
    """A command, its arguments after `python -m`; it has `limit_s`, or what is left if less."""

    name: str
    command: tuple[str, ...]
    limit_s: float


def parts(folder: Path, *, toy: bool) -> list[Part]:
    """The bars first: what else there is may be cut short."""
    made = []
    for name, profile in PROFILES.items():
        if profile.bar_ms is None:
            continue
        capture, linears = profile.bar_with
        how = ("--linears", linears) if toy else ("--capture", capture, "--linears", linears)
        measured = (f"toy-{name.partition('-')[0]}", "--chunks", "1") if toy else (name,)
        for way, arguments in (("bar", how), ("plain", ())):
            out = folder / f"{name}-{way}.json"
            command = ("bench.denoise", "--profile", *measured, *arguments, "--json", str(out))
            made.append(Part(f"{name}-{way}", command, 150))
    made.sort(key=lambda part: part.name.endswith("plain"))
    # the bars were just measured
    tests = ("pytest", "-m", "gpu", "tests/gpu", "-q", "-rA", "-k", "not before_it and not is_told")
    junit = f"--junitxml={folder / 'tests.xml'}"
    return [*made, Part("tests", (*tests, junit), 240)]


def run(part: Part, folder: Path, left_s: float) -> list[object]:
    """A row of the summary; what the part says is in `<name>.log`."""
    began, limit_s = time.monotonic(), min(part.limit_s, left_s)
    log = folder / f"{part.name}.log"
    if limit_s < 1:
        return [part.name, NO_TIME, 0]
    say(f"gpu_check: {part.name}")
    with log.open("w") as out:
        try:
            done = subprocess.run(
                [sys.executable, "-m", *part.command],
                stdout=out, stderr=subprocess.STDOUT, timeout=limit_s, check=False, cwd=ROOT,
            )  # fmt: skip
            ended = f"failed with {done.returncode}"
            if done.returncode == 0:
                ended = unmeasured(folder / f"{part.name}.json") or "done"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit_s:.0f} s"
    return [part.name, ended, round(time.monotonic() - began)]


def unmeasured(figures: Path) -> str | None:
    """Why a part that went well measured nothing; None where it did, or was to leave no figures."""
    if not figures.is_file():
        return None
    profiles = json.loads(figures.read_text())["values"]["profiles"].values()
    reasons = [each.get("not_run") for each in profiles]
    return None if None in reasons else "; ".join(map(str, reasons))


def check(folder: Path, chosen: Sequence[Part], limit_s: float = LIMIT_S) -> bool:
    """Run all parts; whether none failed. The summary is written anew after each."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in chosen:  # what an earlier run left is not of this one
        for kind in ("log", "json"):
            (folder / f"{part.name}.{kind}").unlink(missing_ok=True)
    conditions, began, rows = Conditions(), time.monotonic(), []
    for part in chosen:
        rows.append(run(part, folder, limit_s - (time.monotonic() - began)))
        logs = [
            f"## {name}\n\n{(folder / f'{name}.log').read_text()}"
            for name, *_ in rows
            if (folder / f"{name}.log").is_file()
        ]
        conditions_told = conditions.told() | {
            "command": "python -m bench.gpu_check",
            "brief": False,
        }
        head = [told(conditions_told), "", table(["part", "", "s"], rows)]
        (folder / "summary.md").write_text("\n".join([*head, *logs]))
    return not any(str(ended).startswith(FAILED) for _, ended, _ in rows)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for results")
    parser.add_argument("--toy", action="store_true", help="sizes that a CPU can run")
    given = parser.parse_args(arguments)
    folder = given.out.absolute()
    went = check(folder, parts(folder, toy=given.toy))
    say(f"gpu_check: see {folder / 'summary.md'}")
    return 0 if went else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
