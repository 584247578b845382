"""The command `bench`: what callers of a server get, many at once."""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from talkingmachines._async_client import AsyncClient
from talkingmachines._cli.bench_caller import Caller, Noted, Session, own_lateness
from talkingmachines._cli.options import Commands, async_client_of, key_of
from talkingmachines._cli.webrtc_call import WebRtcCall
from talkingmachines._client import Client
from talkingmachines._connection import metadata_of
from talkingmachines._errors import Unavailable
from talkingmachines._terminal import Terminal

LATE_BAR_S: Final = 0.05
"""A program that is woken later than this, p95, measures its own machine too."""
MAX_SESSIONS: Final = 1000
ROWS: Final = {
    "open_s": "session asked for to connected",
    "say_s": "text to its first sound",
    "ask_s": "question to the first sound of its answer",
    "stop_s": "interruption to silence",
    "sound_gap_s": "longest wait for sound, of a session",
    "picture_gap_s": "longest wait for a picture, of a session",
    "own_lateness_s": "this program itself woken late",
}

Percentiles = Mapping[str, float | None]


def add(commands: Commands) -> None:
    bench = commands.add("bench", _bench, "measure what callers of a server get, many at once")
    bench.add_argument("--avatar", default="", metavar="ID", help="whom to call (see `avatars`)")
    bench.add_argument("--sessions", type=_count, default=1, metavar="N", help="at once (1)")
    bench.add_argument(
        "--seconds", type=_duration, default=30.0, metavar="S", help="how long each goes on (30)"
    )
    bench.add_argument(
        "--pictures", default="jpeg", choices=["jpeg", "vp8", "h264", "none"], help="how they come"
    )
    bench.add_argument(
        "--webrtc", default="", metavar="URL", help="call as browsers do, at this HTTP address"
    )
    bench.add_argument("--line", action="store_true", help="wait in line while the server is full")


def _bench(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    told = asyncio.run(_measure(options))
    if options.json:
        terminal.result(json.dumps(told))
    else:
        for line in report(told):
            terminal.result(line)
    if not told["opened"]:
        raise Unavailable(f"No session was opened: {_listed(told['refused'])}.")


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    listening = asyncio.create_task(own_lateness())
    async with async_client_of(options) as client:
        callers = [Caller(_session(client, options)) for _ in range(options.sessions)]
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(caller.call(options.seconds)) for caller in callers]
    listening.cancel()
    return summary([call.result() for call in calls], await listening)


def _session(client: AsyncClient, options: argparse.Namespace) -> Session:
    if options.webrtc:
        return WebRtcCall(options.webrtc, dict(metadata_of(key_of(options))), options.avatar)
    return client.session(options.avatar, pictures=options.pictures, wait_in_line=options.line)


def summary(callers: Sequence[Noted], late_s: Sequence[float]) -> dict[str, Any]:
    """What came of all callers together."""
    told: dict[str, Any] = {
        "sessions": len(callers),
        "opened": sum(bool(each.open_s) for each in callers),
        "refused": dict(Counter(each.refused for each in callers if each.refused)),
        "lost": dict(Counter(each.lost for each in callers if each.lost)),
        "unanswered": sum(each.unanswered for each in callers),
    }
    for name in ROWS:
        if name != "own_lateness_s":
            told[name] = percentiles(s for each in callers for s in getattr(each, name))
    return told | {"own_lateness_s": percentiles(late_s)}


def percentiles(values: Iterable[float]) -> Percentiles:
    """p50, p95, p99, most and count; of nothing, None and 0."""
    given = sorted(values)
    if not given:
        return {"p50": None, "p95": None, "p99": None, "most": None, "count": 0}

    def at(share: float) -> float:
        place = share * (len(given) - 1)
        low = int(place)
        high = min(low + 1, len(given) - 1)
        return given[low] + (place - low) * (given[high] - given[low])

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "most": given[-1],
            "count": len(given)}  # fmt: skip


def report(told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{told['opened']} of {told['sessions']} sessions opened;"
        f" refused: {_listed(told['refused'])}; lost: {_listed(told['lost'])};"
        f" unanswered: {told['unanswered']}"
    )
    width = max(map(len, ROWS.values()))
    columns = ("p50", "p95", "p99", "most")
    yield " " * width + "".join(f"{name:>9}" for name in columns) + "    count   (seconds)"
    for name, words in ROWS.items():
        row = told[name]
        cells = ("        -" if row[c] is None else f"{row[c]:9.3f}" for c in columns)
        yield f"{words:<{width}}{''.join(cells)}{row['count']:9}"
    if (told["own_lateness_s"]["p95"] or 0.0) > LATE_BAR_S:
        yield "This machine is busy itself: the figures are worse than what the server gave."


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {reason}" for reason, count in reasons.items()) or "none"


def _count(text: str) -> int:
    if not 1 <= (count := int(text)) <= MAX_SESSIONS:
        raise argparse.ArgumentTypeError(f"1 to {MAX_SESSIONS} sessions")
    return count


def _duration(text: str) -> float:
    if not 0 < (given := float(text)) <= 86_400:
        raise argparse.ArgumentTypeError("up to 86400 seconds")
    return given
