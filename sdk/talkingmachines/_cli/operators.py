"""The commands of who runs a server: sessions, workers, drain."""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence

from talkingmachines._cli.options import Commands
from talkingmachines._client import Client
from talkingmachines._operators import Worker
from talkingmachines._terminal import Terminal

POLL_S = 1.0


def add(commands: Commands) -> None:
    commands.add("sessions", _sessions, "list the sessions of a server (operator's key)")
    commands.add("workers", _workers, "list the processes of a server (operator's key)")
    drain = commands.add("drain", _drain, "let a worker take no new sessions (operator's key)")
    drain.add_argument("worker", help="its id (see `workers`)")
    drain.add_argument("--until-empty", action="store_true", help="return when it has none left")


def _sessions(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    listed = client.sessions()
    if options.json:
        terminal.result(json.dumps(dataclasses.asdict(listed)))
        return
    rows = [
        (s.id, s.avatar, s.state, f"{s.age_s:.0f} s", "yes" if s.connected else "no",
         str(s.viewers), s.key or "-")
        for s in listed.sessions
    ]  # fmt: skip
    _table(terminal, ("session", "avatar", "state", "age", "connected", "viewers", "key"), rows)
    for gateway in listed.silent_gateways:
        terminal.note(f"{gateway} did not answer: its sessions are missing.")


def _workers(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    workers = client.workers()
    if options.json:
        terminal.result(json.dumps([dataclasses.asdict(worker) for worker in workers]))
        return
    rows = [
        (w.id, w.stage, f"{w.sessions}/{w.slots}", _found(w), ", ".join(w.avatars) or "-", _fate(w))
        for w in workers
    ]
    _table(terminal, ("worker", "stage", "sessions", "measured", "avatars", ""), rows)


def _drain(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    worker = client.drain(options.worker)
    left = -1
    while options.until_empty and worker.sessions:
        if worker.sessions != left and not options.json:
            left = worker.sessions
            terminal.note(f"{worker.id} has {left} left.")
        time.sleep(POLL_S)
        worker = client.drain(options.worker)
    if options.json:
        terminal.result(json.dumps(dataclasses.asdict(worker)))
    else:
        terminal.result(f"{worker.id} takes no new sessions; it has {worker.sessions}.")


def _found(worker: Worker) -> str:
    if worker.measured is None:
        return "-"
    cost_s = worker.measured.cost_s / worker.measured.together
    return (
        f"{1000 * cost_s:.1f} of {1000 * worker.measured.chunk_s:.0f} ms a session: "
        f"time for {worker.measured.sessions}"
    )


def _fate(worker: Worker) -> str:
    return "draining" if worker.draining else ""


def _table(terminal: Terminal, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminal.result("  ".join(cells).rstrip())
