"""What does the whole graph do on this machine: start, idle, speak, answer, and end?"""

import itertools
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar.cast.characters import CAST
from bench.answers import Took, numbers_of, receive
from bench.clips import Question, questions
from bench.graph_report import report
from bench.machine import say
from bench.options import Options
from bench.processes import Snapshot, cores, snapshot
from bench.results import Values
from bench.server import Server
from bench.stats import covered, overlap
from bench.trace import StageTrace, stage_means
from talkingmachines import Client

IDLE_S = 10.0
ANSWER_S = 120.0
"""Longer than this, and the graph counts as hanging."""
SENTENCES = (
    "Good morning! Shall we begin? There is a lot to see, and the doors have just opened.",
    "Every picture of me is made by a diffusion transformer, on this machine, while I speak.",
    "The harbour was quiet, apart from two gulls and a boy who mended a net on the steps.",
    "If you turn left after the bridge, you will find a small bakery that opens before six.",
)

Told = dict[str, Any]

__all__ = ["measure", "report"]


def measure(options: Options) -> Values:
    values: Values = {"starts": [], "left": []}
    if not options.brief:
        drop_from_memory(options.venv)
        say("graph: first start, nothing of it in memory")
        with Server() as server:
            note_start(values, server)
    say("graph: start")
    with Server() as server, Client(server.address, deadline_s=ANSWER_S) as client:
        values |= usage_and_words(options, server, client)
        note_start(values, server)
    return values


def note_start(values: Values, server: Server) -> None:
    values["left"] += server.stop()
    start = {"healthy_s": server.healthy_s, "ready_s": server.ready_s, "stop_s": server.stop_s}
    values["starts"].append(start)


def drop_from_memory(folder: Path) -> None:
    """Have the system forget what it keeps of these files, as after a restart of the machine."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            file = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def usage_and_words(options: Options, server: Server, client: Client) -> Values:
    """Everything that is measured on a graph that runs."""
    processes = server.processes()
    before = snapshot(processes)
    time.sleep(1.0 if options.brief else IDLE_S)
    idle = snapshot(processes)
    trace = StageTrace(server.metrics)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        requests = Requests(client, Path(folder))
        say("graph: say")
        with trace.following():
            started = snapshot(processes)
            said = [
                requests.say(text, i)
                for i, text in enumerate(options.repetitions(2, 1) * SENTENCES)
            ]
            speaking = snapshot(processes)
        say("graph: ask")
        asked = [
            requests.ask(question, i)
            for i, question in enumerate(options.repetitions(3, 1) * questions())
        ]
        say("graph: two at once")
        with ThreadPoolExecutor(2) as threads:
            two = list(threads.map(requests.ask, questions()[:2], (0, 1)))
        # the files are looked at when nothing is measured any more
        answers = {
            name: [each.told() for each in done]
            for name, done in (("say", said), ("ask", asked), ("together", two))
        }
    return {
        **answers,
        "processes": usage(before, idle, started, speaking),
        "speaking_s": speaking.at_s - started.at_s,
        "overlap": overlaps(trace),
        "stages": stage_means(server.metrics_text()),
    }


@dataclass(frozen=True)
class Done:
    """An answer that has come, its video still unseen."""

    took: Took
    path: Path
    question: Question | None = None

    def told(self) -> Told:
        if self.question is None:
            return numbers_of(self.took, self.path)
        numbers = numbers_of(self.took, self.path, self.question.text)
        return {"question": self.question.path.stem, **numbers}


class Requests:
    """Sends requests, each to the next avatar, and keeps what comes in a folder."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client, self._folder = client, folder
        self._numbers = itertools.count()

    def say(self, text: str, number: int) -> Done:
        path = self._folder / f"{next(self._numbers)}.mp4"
        return Done(receive(self._client.say(text, CAST[number % len(CAST)].id), path), path)

    def ask(self, question: Question, number: int) -> Done:
        path = self._folder / f"{next(self._numbers)}.mp4"
        answer = self._client.ask(question.path, CAST[number % len(CAST)].id)
        return Done(receive(answer, path), path, question)


def usage(before: Snapshot, idle: Snapshot, started: Snapshot, speaking: Snapshot) -> Told:
    """Cores idle and while speaking, and megabytes after having spoken, of each process."""
    when_idle, when_speaking = cores(before, idle), cores(started, speaking)
    return {
        name: {
            "idle_cores": when_idle.get(name, 0.0),
            "speaking_cores": when_speaking.get(name, 0.0),
            "uss_mb": memory.uss_mb,
            "rss_mb": memory.rss_mb,
            "pss_mb": memory.pss_mb,
            "idle_uss_mb": idle.by_name[name].uss_mb if name in idle.by_name else 0.0,
        }
        for name, memory in speaking.by_name.items()
    }


def overlaps(trace: StageTrace) -> Told:
    """How much of their time score worker and VAE decoder compute both."""
    score, vae = (trace.intervals.get(name, []) for name in ("score_worker", "vae_decoder"))
    both = overlap(score, vae)
    return {
        "chunks": len(score),
        "score_s": covered(score),
        "vae_s": covered(vae),
        "both_s": both,
        "any_s": covered([*score, *vae]),
    }
