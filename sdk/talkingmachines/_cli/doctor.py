"""The command `doctor`: what is wrong between this program and its server, and what mends it."""

import argparse
import importlib.metadata
import importlib.util
import json
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, Literal

from talkingmachines._cli import http_side
from talkingmachines._cli.options import Commands
from talkingmachines._client import Client
from talkingmachines._errors import NotFound, PermissionDenied, TalkError, Unavailable
from talkingmachines._operators import Worker
from talkingmachines._terminal import Terminal

CONNECT_S: Final = 3.0
READY_S: Final = 3.0
NUM_PINGS: Final = 5
NOBODY: Final = "doctor-asks-for-nobody"
"""No avatar is called this: asking for it tells whether the key is good, and takes no slot."""
EXTRAS: Final = {"mux": "av", "microphone": "sounddevice", "webrtc": "aiortc"}

Verdict = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """What one check found; a failure says what mends it."""

    check: str
    verdict: Verdict
    text: str


def add(commands: Commands) -> None:
    doctor = commands.add("doctor", _doctor, "check the way to a server, and say what mends it")
    doctor.add_argument(
        "--http",
        default="",
        metavar="URL",
        help="the server's HTTP address, checked too (default: port 8000 of the same host)",
    )


def _doctor(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    findings: list[Finding] = []
    failure: TalkError | None = None
    for check in (_port, _ready, _key, _round_trip, _pools):
        try:
            found = list(check(client))
        except TalkError as error:
            found, failure = [Finding(check.__name__[1:], "FAIL", str(error))], error
        findings += _told(found, options, terminal)
        if failure is not None:
            break  # the others could only say the same
    findings += _told(list(_http(client, options.http)), options, terminal)
    findings += _told(list(_extras()), options, terminal)
    if options.json:
        terminal.result(json.dumps([asdict(finding) for finding in findings]))
    if failure is not None:
        raise failure
    if any(finding.verdict == "FAIL" for finding in findings):
        raise TalkError("Something is to be mended: see above.", reason="UNHEALTHY")


def _told(
    findings: list[Finding], options: argparse.Namespace, terminal: Terminal
) -> list[Finding]:
    for finding in findings:
        if not options.json:
            terminal.result(f"{finding.verdict:<4}  {finding.check:<10}  {finding.text}")
    return findings


def _port(client: Client) -> Iterator[Finding]:
    host, _, port = client.server.rpartition(":")
    began = time.monotonic()
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise Unavailable(
            f"Nothing listens at {client.server} ({error}): start the server with `make run`, name"
            " another address with --server, or open the port in the firewall."
        ) from error
    yield Finding("port", "ok", f"{client.server} answers in {_ms(time.monotonic() - began)}")


def _ready(client: Client) -> Iterator[Finding]:
    client.wait_ready(READY_S)
    yield Finding("ready", "ok", "the server can talk")


def _key(client: Client) -> Iterator[Finding]:
    try:
        for _ in client.say("Hello.", NOBODY):
            pass
    except NotFound:
        pass  # we were let in
    yield Finding("key", "ok", "the server lets us in")
    try:
        client.workers()
    except PermissionDenied:
        yield Finding("key", "note", "no operator's: sessions, workers and drain are not for it")


def _round_trip(client: Client) -> Iterator[Finding]:
    times: list[float] = []
    avatars = client.avatars()
    for _ in range(NUM_PINGS):
        began = time.monotonic()
        client.avatars()
        times.append(time.monotonic() - began)
    names = ", ".join(avatar.id for avatar in avatars)
    yield Finding("latency", "ok", f"a call takes {_ms(statistics.median(times))}")
    yield Finding(
        "avatars", "ok" if avatars else "FAIL", names or "the server has none: see AVATARS_DIR"
    )


def _pools(client: Client) -> Iterator[Finding]:
    try:
        workers = client.workers()
    except PermissionDenied:
        return
    stages = dict.fromkeys(worker.stage for worker in workers)
    for stage in stages:
        yield _pool(stage, [worker for worker in workers if worker.stage == stage])


def _pool(stage: str, workers: list[Worker]) -> Finding:
    willing = [worker for worker in workers if not worker.draining]
    free = sum(max(worker.slots - worker.sessions, 0) for worker in willing)
    text = f"{stage}: {len(workers)} running, {free} slots free"
    if not willing:
        return Finding("pool", "FAIL", f"{text}: all drain; start another one")
    if not free:
        return Finding("pool", "note", f"{text}: who comes now waits in line")
    return Finding("pool", "ok", text)


def _http(client: Client, url: str) -> Iterator[Finding]:
    """The page's side; where it was not named, not finding it is no failure."""
    host = client.server.rpartition(":")[0]
    address = (url or f"http://{host}:{http_side.DEFAULT_PORT}").rstrip("/")
    try:
        seen = http_side.look(address)
    except OSError as error:
        verdict: Verdict = "FAIL" if url else "note"
        yield Finding("http", verdict, f"{address} does not answer ({error}): name it with --http")
        return
    if seen.waiting_for:
        missing = ", ".join(seen.waiting_for)
        yield Finding("http", "FAIL", f"{address} waits for {missing}: see the server's log")
    else:
        yield Finding("http", "ok", f"{address} is ready")
    yield _version(seen.version)
    if seen.clock_off_s is not None:
        yield _clock(seen.clock_off_s)


def _version(theirs: str) -> Finding:
    ours = importlib.metadata.version("talkingmachines")
    if theirs.split(".")[:2] == ours.split(".")[:2]:
        return Finding("version", "ok", f"server {theirs}, client {ours}")
    text = (
        f"server {theirs or 'unknown'}, client {ours}: install the client of the server's version"
    )
    return Finding("version", "FAIL", text)


def _clock(off_s: float) -> Finding:
    text = f"this clock and the server's differ by {off_s:.0f} s"
    if abs(off_s) > http_side.CLOCK_OFF_S:
        return Finding("clock", "FAIL", f"{text}: tokens and certificates run out by it; set it")
    return Finding("clock", "ok", text)


def _extras() -> Iterator[Finding]:
    for extra, module in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            text = f"not installed: pip install 'talkingmachines[{extra}]'"
            yield Finding(extra, "note", text)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
