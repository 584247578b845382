"""What do callers get who speak and interrupt, many at once?

`python -m bench.load --callers 8 --url https://avatars.example.org --key-file FILE` asks a server
that runs; without --url one of its own is started on this machine.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from avatar.audio.files import decode
from avatar.errors import AvatarError
from avatar.media import SPEECH_RATE
from bench.clips import questions
from bench.live import Told
from bench.load_caller import Noted, Script, call_until
from bench.machine import say
from bench.options import Options
from bench.results import Values, bars, table
from bench.server import Server

LOOP_S = 0.05
LATE_BAR_MS = 20.0
"""A generator that is later than this itself, p95, tells more of its own machine."""


def measure(options: Options) -> Values:
    """Three callers for a server of two slots."""
    with Server() as server:
        seconds = float(options.repetitions(180, 25))
        return asyncio.run(load(server.url, script_of(0.5), callers=3, ramp_s=3.0, seconds=seconds))


def script_of(interrupts: float, avatar: str = "", key: str = "") -> Script:
    spoken = [decode(each.path.read_bytes(), SPEECH_RATE) for each in questions()]
    return Script(spoken, interrupts, avatar, key)


async def load(
    url: str, script: Script, *, callers: int, ramp_s: float, seconds: float, seed: int = 0
) -> Values:
    """All callers end together, `seconds` after the last one has begun; they begin evenly."""
    step_s = ramp_s / callers
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(ramp_s + seconds, over.set)
    listening = asyncio.create_task(_own_lateness())
    began_s, used_s = time.monotonic(), time.process_time()

    async def one(number: int) -> Noted:
        await asyncio.sleep(number * step_s)
        noted = Noted()
        await call_until(over, url, script, random.Random(seed + number), noted)
        fate = noted.refused or noted.lost or f"{len(noted.responses_s)} answers"
        say(f"load: caller {number + 1} of {callers}: {fate}")
        return noted

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(one(number)) for number in range(callers)]
    listening.cancel()
    late_s = await asyncio.gather(listening, return_exceptions=True)
    late = late_s[0] if isinstance(late_s[0], list) else []
    return {
        "callers": [asdict(each.result()) for each in calls],
        "ramp_s": ramp_s,
        "seconds": seconds,
        "interrupts": script.interrupts,
        "own_lateness_ms": percentiles(late, 1000),
        "own_cores": (time.process_time() - used_s) / (time.monotonic() - began_s),
    }


async def _own_lateness() -> list[float]:
    """How much later than asked for this program itself is woken."""
    late: list[float] = []
    try:
        while True:
            due = time.monotonic() + LOOP_S
            await asyncio.sleep(LOOP_S)
            late.append(time.monotonic() - due)
    except asyncio.CancelledError:
        return late


Percentiles = dict[str, float | None]


def percentiles(values: Iterable[float], scale: float = 1.0) -> Percentiles:
    """p50, p95, p99, most and count; of nothing, None and 0."""
    scaled = np.asarray(list(values), np.float64) * scale
    if not scaled.size:
        return {"p50": None, "p95": None, "p99": None, "most": None, "count": 0}
    p50, p95, p99 = (float(each) for each in np.percentile(scaled, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99, "most": float(scaled.max()), "count": scaled.size}


def summary(values: Values) -> Values:
    """What came of all callers together."""
    callers: list[Told] = values["callers"]
    watched_s = sum(each["watched_s"] for each in callers)
    frozen_s = [s for each in callers for s in each["frozen_s"]]
    behind = [each["behind_ms"] for each in callers if each["behind_ms"] is not None]
    return {
        "asked": len(callers),
        "refused": dict(Counter(each["refused"] for each in callers if each["refused"])),
        "lost": dict(Counter(each["lost"] for each in callers if each["lost"])),
        "connect_s": percentiles(_of(callers, "connect_s")),
        "response_s": percentiles(s for each in callers for s in each["responses_s"]),
        "stop_ms": percentiles((s for each in callers for s in each["stops_s"]), 1000),
        "unanswered": sum(each["unanswered"] for each in callers),
        "frozen": len(frozen_s),
        "frozen_s": sum(frozen_s),
        "frozen_share": sum(frozen_s) / watched_s if watched_s else 0.0,
        "stalls_told": sum(each["stalls_told"] for each in callers),
        "behind_ms": percentiles(behind),
        "own_late_ms": values["own_lateness_ms"],
    }


def _of(callers: Sequence[Told], name: str) -> list[float]:
    return [each[name] for each in callers if each[name] is not None]


def report(values: Values) -> str:
    told = summary(values)
    late = told["own_late_ms"]["p95"] or 0.0
    rows = [
        ("connect, s", told["connect_s"]),
        ("last word to first sound of the answer, s", told["response_s"]),
        ("first sound of an interruption to silence, ms", told["stop_ms"]),
        ("pictures behind sound on arrival, ms, a caller's median", told["behind_ms"]),
        ("this program itself woken late, ms", told["own_late_ms"]),
    ]
    names = ("p50", "p95", "p99", "most", "count")
    return "\n".join(
        [
            bars(
                [
                    ("no call was lost", _listed(told["lost"]), "none", not told["lost"]),
                    ("every turn was answered", told["unanswered"], "0 unanswered",
                     told["unanswered"] == 0),
                    ("this program was late itself, p95, ms", late, f"≤ {LATE_BAR_MS:g}",
                     late <= LATE_BAR_MS),
                ]
            ),
            f"{told['asked']} callers over {values['ramp_s']:g} s, then {values['seconds']:g} s; "
            f"they interrupt {100 * values['interrupts']:.0f} % of the answers. Refused: "
            f"{_listed(told['refused'])}. The face stood still for more than 0.5 s "
            f"{told['frozen']} times, {told['frozen_s']:.1f} s in all, "
            f"{100 * told['frozen_share']:.2f} % of the time; the server told of "
            f"{told['stalls_told']} stalls. This program used {values['own_cores']:.2f} cores.\n",
            table(
                ["", *names],
                [
                    (name, *("-" if each[n] is None else each[n] for n in names))
                    for name, each in rows
                ],
            ),
        ]
    )  # fmt: skip


def _listed(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} of {reason}" for reason, count in reasons.items()) or "none"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--url", default="", help="of a server that runs; default: start one")
    # no option for the key itself: others on this machine can read command lines
    parser.add_argument("--key-file", type=Path, help="holds the key that the server asks for")
    parser.add_argument("--avatar", default="", help="whom to call (default: the server's choice)")
    parser.add_argument("--callers", type=_count, default=2, metavar="N")
    parser.add_argument("--ramp", type=_duration, default=5.0, metavar="S",
                        help="all have begun after so many seconds")  # fmt: skip
    parser.add_argument("--seconds", type=_duration, default=60.0, metavar="S",
                        help="and go on for so many; then it ends by itself")  # fmt: skip
    parser.add_argument("--interrupts", type=_share, default=0.5, metavar="SHARE",
                        help="share of answers that are interrupted by voice")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args(arguments)
    with ExitStack() as stack:
        try:
            key = given.key_file.read_text().strip() if given.key_file else ""
            url = given.url or stack.enter_context(Server()).url
            script = script_of(given.interrupts, given.avatar, key)
            values = asyncio.run(
                load(url, script, callers=given.callers, ramp_s=given.ramp, seconds=given.seconds)
            )
        except (AvatarError, OSError) as error:
            say(f"load: failed: {error}")
            return 1
    if given.json:
        given.json.write_text(json.dumps(values | {"summary": summary(values)}, indent=1) + "\n")
    print(report(values), flush=True)
    told = summary(values)
    return 1 if told["lost"] or len(values["callers"]) == sum(told["refused"].values()) else 0


def _count(text: str) -> int:
    if not 1 <= (count := int(text)) <= 1000:
        raise argparse.ArgumentTypeError("1 to 1000 callers")
    return count


def _duration(text: str) -> float:
    if not 0 <= (seconds := float(text)) <= 86_400:
        raise argparse.ArgumentTypeError("0 to 86400 seconds")
    return seconds


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError("0 to 1")
    return share


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
