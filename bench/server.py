"""The real graph as a child: started as `make run` starts it, ended as Ctrl-C ends it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]  # has no types

from avatar.errors import Unavailable
from bench.machine import ROOT, say
from services.ports import free_port

READY_S = 360.0
STOP_S = 60.0
POLL_S = 0.05
CLIENT_TIMEOUT_S = 5.0
LOG, WORDS = "server.log", "words"
# a proxy of the environment is for the world, not for this machine
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Server:
    """`python -m services.run` on free ports; everything temporary is in a folder of ours.

    `environment` is what it finds in its environment besides.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-")
        self._folder = Path(self._temporary.name)
        self.metrics = self._folder / "metrics"
        self.metrics.mkdir()
        self.port, self.grpc_port = free_port(), free_port()
        self.healthy_s = self.ready_s = self.stop_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        """Start it and wait until it is ready.

        Raises:
            Unavailable: It ends before, or takes too long.
        """
        started = time.monotonic()
        settings = {
            "PORT": self.port,
            "GRPC_PORT": self.grpc_port,
            "PROMETHEUS_MULTIPROC_DIR": self.metrics,
            "LOG_FILE": self._folder / LOG,
            "TMPDIR": self._folder,
            **self._environment,
        }
        variables = [f"{name}={value}" for name, value in settings.items()]
        with (self._folder / WORDS).open("wb") as words:
            # a session of its own: Ctrl-C here reaches this program first, which then ends it
            self._process = subprocess.Popen(
                ["env", *variables, sys.executable, "-m", "services.run"],
                cwd=ROOT,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        try:
            self.healthy_s = self._wait_for("/healthz", started)
            self.ready_s = self._wait_for("/readyz", started)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            say(f"the server's last words: {self._last(WORDS)}\nits log: {self._last(LOG)}")
        self.stop()
        self._temporary.cleanup()

    def processes(self) -> list[psutil.Process]:
        """The launcher and everything below it."""
        launcher = psutil.Process(self.pid)
        return [launcher, *launcher.children(recursive=True)]

    def metrics_text(self) -> str:
        with _open(self._url("/metrics"), timeout=CLIENT_TIMEOUT_S) as answer:
            text: str = answer.read().decode()
        return text

    def stop(self) -> list[str]:
        """End it as Ctrl-C does; returns what it left behind: processes, ports, files."""
        process, self._process = self._process, None
        if process is None:
            return []
        family = _below(process)
        ports = listening_ports(family)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        left = []
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            left.append(f"the launcher itself, {STOP_S:.0f} s after Ctrl-C")
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.stop_s = time.monotonic() - started
        left += [f"process {each.pid} {_name(each)}" for each in family if _is_alive(each)]
        left += [f"port {port}" for port in sorted(ports & listening_ports())]
        ours = {self.metrics.name, LOG, WORDS}
        left += [f"file {each.name}" for each in self._folder.iterdir() if each.name not in ours]
        return left

    def _wait_for(self, path: str, started: float) -> float:
        """Seconds since `started` at which `path` first answers with 200."""
        assert self._process is not None
        waiting_for = ""
        while (elapsed_s := time.monotonic() - started) < READY_S:
            try:
                with _open(self._url(path), timeout=CLIENT_TIMEOUT_S):
                    return time.monotonic() - started
            except urllib.error.HTTPError as error:
                with error:
                    waiting_for = error.read().decode(errors="replace")
            except OSError:
                pass  # nobody listens yet
            if self._process.poll() is not None:
                break
            time.sleep(POLL_S)
        raise Unavailable(
            f"{path} did not answer within {elapsed_s:.0f} s; {_detail(waiting_for)}; the server's "
            f"last words: {self._last(WORDS)}"
        )

    def _last(self, name: str, lines: int = 5) -> str:
        path = self._folder / name
        return (
            "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            if path.exists()
            else ""
        )

    def _url(self, path: str) -> str:
        return f"{self.url}{path}"


def listening_ports(of: list[psutil.Process] | None = None) -> set[int]:
    """TCP ports on which anybody, or one of these processes, listens."""
    if of is None:
        return _listening(psutil.net_connections(kind="tcp"))
    ports: set[int] = set()
    for process in of:
        try:
            ports |= _listening(process.net_connections(kind="tcp"))
        except psutil.Error:
            continue  # it has ended, and so have its ports
    return ports


def _listening(connections: list[Any]) -> set[int]:
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return "(ended)"


def _below(launcher: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        return psutil.Process(launcher.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _detail(answer: str) -> str:
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, LookupError, TypeError):
        return "no reason was given"
