"""`make run` with small engines in three of its stages, in a folder of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # no stubs

from services.ports import free_port

ROOT = Path(__file__).parent.parent.parent
READY_S = 240.0
STOP_S = 60.0
REPLICA = "ray::ServeReplica:talkingmachines:"


@dataclass
class Watch:
    """Asks /healthz and /readyz all the time, and notes every answer."""

    port: int
    healthz: list[int] = field(default_factory=list)
    readyz: list[int] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            self.healthz.append(status_of(self.port, "/healthz"))
            self.readyz.append(status_of(self.port, "/readyz"))


@dataclass
class Run:
    """A running launcher."""

    process: subprocess.Popen[str]
    port: int
    grpc_port: int
    folder: Path
    watch: Watch
    lines: list[str]
    log_file: Path

    def logged(self, event: str, stage: str) -> int:
        """How many times a stage's replicas wrote this into the log."""
        entries = map(json.loads, self.log_file.read_text().splitlines())
        return sum((each["event"], each.get("stage")) == (event, stage) for each in entries)

    def replicas(self) -> dict[str, psutil.Process]:
        """The replicas' processes by stage."""
        return {
            name.removeprefix(REPLICA): child
            for name, child in self._children()
            if name.startswith(REPLICA)
        }

    def count(self, stage: str) -> int:
        """How many processes serve a stage."""
        return sum(name == REPLICA + stage for name, _ in self._children())

    def _children(self) -> Iterator[tuple[str, psutil.Process]]:
        """What runs below the launcher, by the name that it shows."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            # One that ends while it is listed, or waits to be reaped, is not there.
            with suppress(psutil.NoSuchProcess):  # a ZombieProcess is one, too
                yield "".join(child.cmdline()).strip(), child


def status_of(port: int, path: str) -> int:
    """The HTTP status; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@contextmanager
def launched(log_folder: Path, change: Callable[[str], str] = str) -> Iterator[Run]:
    """A launcher that is ready; `change` is made to the text of ray_config.yaml."""
    folder = Path("/tmp") / f"tmt-{os.getpid()}"  # short: sockets lie below
    folder.mkdir()
    config = folder / "ray_config.yaml"
    text = (ROOT / "ray_config.yaml").read_text()
    config.write_text(change(text.replace("services.app:build", "tests.fakes.workers:build")))
    port, grpc_port = free_port(), free_port()
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PORT": str(port),
        "GRPC_PORT": str(grpc_port),
        "LOG_FILE": str(log_folder / "server.log"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.run", "--config", str(config)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watch = Watch(port)
    watching = threading.Thread(target=watch.run)
    lines: list[str] = []
    try:
        assert process.stdout is not None
        lines.append(process.stdout.readline())  # the first one: somebody answers from now on
        watching.start()
        deadline = time.monotonic() + READY_S
        while not lines[-1].startswith("Open http") and time.monotonic() < deadline:
            line = process.stdout.readline()
            assert line, f"the launcher ended: {''.join(lines)}"
            lines.append(line)
        yield Run(process, port, grpc_port, folder, watch, lines, log_folder / "server.log")
    finally:
        watch.stopped.set()
        if watching.is_alive():
            watching.join()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=STOP_S)
        shutil.rmtree(folder, ignore_errors=True)
