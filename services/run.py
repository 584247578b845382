"""What `make run` starts: the whole graph on this machine, until Ctrl-C."""

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from avatar.bus import Bus, WorkerInfo
from avatar.cast.avatars import damaged
from avatar.errors import AvatarError, InvalidInput, Unavailable
from avatar.media import STAGES, WorkerId
from avatar.telemetry import logging
from services.gateway.guard import keyring_for
from services.ports import check_free
from services.processes import SIGNALS, adopt_orphans, end_descendants
from services.replica import launcher_id
from services.settings import LIBRARIES, AppConfig, Environment, set_environment
from services.startup import StartupListener

ROOT = Path(__file__).resolve().parent.parent
MIN_FREE_BYTES = 500 << 20
MAX_BASE = 28
"""Characters: Ray puts sockets below, and a socket's path ends at 107."""
POLL_S = 0.2
TROUBLE_POLL_S = 2.0
CHECK_S = 1.0


class Progress:
    """What has been done, a line each, with the seconds it took so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last = ""

    def tell(self, line: str) -> None:
        if line != self._last:
            elapsed_s = time.monotonic() - self._started
            sys.stdout.write(f"[{elapsed_s:5.1f} s] {line}\n")
            sys.stdout.flush()
            self._last = line


def main() -> None:
    arguments = argparse.ArgumentParser(prog="make run", description=__doc__)
    arguments.add_argument("--config", type=Path, default=ROOT / "ray_config.yaml")
    path = arguments.parse_args().config
    try:
        sys.exit(run(path))
    except AvatarError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def run(path: Path) -> int:
    """Run until a signal; returns the exit status.

    Raises:
        AvatarError: It cannot start here; the message names the fix.
    """
    progress = Progress()
    _let_go_of_the_terminal()
    deployed, config = read_config(path)
    environment = Environment.read()
    # refused here, where somebody reads it
    keyring_for(config.host, environment.key_file, config.stage_host)
    check_machine(config)
    _interrupt_on_signals()
    with run_folder() as folder:
        set_environment(
            {
                **LIBRARIES,
                "LOG_FILE": str(log_file()),
                "TORCHINDUCTOR_CACHE_DIR": str(
                    folder / "inductor"
                ),  # importing diffusers makes one
            }
        )
        logging.configure(path=Environment.read().log_file)
        if environment.runtime == "inproc":
            return run_inproc(config, progress)
        # for processes that begin after it is set: prometheus_client looks when it is imported
        set_environment({"PROMETHEUS_MULTIPROC_DIR": _made(folder / "metrics")})
        return run_ray(deployed, config, environment, folder, progress)


def _let_go_of_the_terminal() -> None:
    """Standard input is /dev/null here and in all that is started.

    Ray's replicas are background processes of this terminal: one whose child touches it is stopped.
    """
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)


def run_ray(
    deployed: dict[str, Any],
    config: AppConfig,
    environment: Environment,
    folder: Path,
    progress: Progress,
) -> int:
    adopt_orphans()
    with ExitStack() as stack, _undisturbed_end():
        stack.callback(end_descendants)
        listener = StartupListener(config.host, config.port)
        stack.callback(listener.close)
        progress.tell(f"{_url(config)}/healthz answers; starting")
        redis_url, check_redis = environment.redis_url, _leave_alone
        if not redis_url:
            from avatar.bus.valkey import valkey_server

            valkey = stack.enter_context(valkey_server())
            redis_url, check_redis = valkey.url, valkey.check
            set_environment({"REDIS_URL": redis_url})
            progress.tell("Valkey is up")
        from services.local_ray import ray_graph

        asyncio.run(announce(redis_url, launcher_id(config.port), config.start_s))
        progress.tell("Ray is starting")
        trouble = stack.enter_context(ray_graph(deployed, folder))
        progress.tell("Ray is up; its workers load the models")
        asyncio.run(hand_over(redis_url, config, listener, trouble, progress))
        _interrupt_on_signals()  # again: a library may have swallowed the first one
        try:
            with suppress(KeyboardInterrupt):
                welcome(config, progress)
                while True:
                    time.sleep(CHECK_S)
                    check_redis()
        finally:
            progress.tell("stopping")
    progress.tell("stopped")
    return 0


def run_inproc(config: AppConfig, progress: Progress) -> int:
    from services.inproc import inproc_graph

    async def serve() -> None:
        main_task = asyncio.current_task()
        assert main_task is not None
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, main_task.cancel)
        progress.tell("one process: no Ray, no Redis; loading the models")
        async with inproc_graph(config, Environment.read()) as gateway:
            while gateway.waiting_for:
                progress.tell(f"waiting for {', '.join(gateway.waiting_for)}")
                await asyncio.sleep(POLL_S)
            welcome(config, progress)
            await asyncio.Event().wait()

    with suppress(asyncio.CancelledError):
        asyncio.run(serve())
    progress.tell("stopped")
    return 0


async def announce(redis_url: str, us: WorkerId, ttl_s: float) -> None:
    """Say on the bus that this process still answers on the gateway's port.

    Raises:
        Unavailable: There is no Redis.
    """
    async with _bus(redis_url) as bus:
        marker = WorkerInfo(us, "gateway", "", slots=0, draining=True)
        await bus.advertise(marker, ttl_s=ttl_s)


async def hand_over(
    redis_url: str,
    config: AppConfig,
    listener: StartupListener,
    trouble: Callable[[], str],
    progress: Progress,
) -> None:
    """Follow the stages' start, leave the port to the gateway, and wait until all is ready.

    Raises:
        Unavailable: A stage does not start, or it takes too long.
    """
    deadline = time.monotonic() + config.start_s
    us = launcher_id(config.port)
    looked_at = time.monotonic()
    is_ours = True
    missing: list[str] = list(STAGES)
    async with _bus(redis_url) as bus:
        while time.monotonic() < deadline:
            if is_ours:
                missing = await _missing(bus, us)
                listener.waiting_for = list(missing)
                if "gateway" not in missing:
                    await asyncio.to_thread(listener.close)
                    await bus.withdraw(us)
                    is_ours = False
            else:
                missing = await asyncio.to_thread(_not_ready, _url(config))
            if not missing:
                return
            progress.tell(f"waiting for {', '.join(missing)}")
            if time.monotonic() > looked_at + TROUBLE_POLL_S:  # costs more than the rest
                looked_at = time.monotonic()
                if problem := await asyncio.to_thread(trouble):
                    raise Unavailable(f"the graph did not start: {problem}")
            await asyncio.sleep(POLL_S)
    longer = math.ceil(2 * config.start_s)
    raise Unavailable(
        f"not ready within {config.start_s:g} s: still waiting for {', '.join(missing)}. Where "
        f"it is still at work, give it more: READY_TIMEOUT_S={longer} make run; "
        f"else see {log_file()}, and whether the machine is busy"
    )


def welcome(config: AppConfig, progress: Progress) -> None:
    """Say that all is ready; the last line says what to do next."""
    for problem in damaged(config.avatars_dir):
        progress.tell(f"an avatar is left out: {problem}")
    progress.tell("ready; Ctrl-C ends it")
    talk = f"{config.host}:{config.grpc_port}"
    server = "" if config.grpc_port == 9000 else f" --server {talk}"
    sys.stdout.write(
        f"Open {_url(config)} in a browser, or try in another terminal:  "
        f'.venv/bin/talkingmachines say "Hello there." --out hello.mp4{server}\n'
    )
    sys.stdout.flush()


def read_config(path: Path) -> tuple[dict[str, Any], AppConfig]:
    """The Serve config, and the settings in it after the environment.

    Raises:
        InvalidInput: The file is missing or holds something that is no setting.
    """
    try:
        deployed: dict[str, Any] = yaml.safe_load(path.read_text())
        args = deployed["applications"][0].get("args", {})
        return deployed, AppConfig.model_validate(args).with_environment()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{path.name}: args.{key}: {first['msg']}") from error
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise InvalidInput(f"{path} is no Serve config of this project: {error}") from error


def check_machine(config: AppConfig) -> None:
    """Raise Unavailable, with the fix, where this machine cannot run the graph."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        version = ".".join(map(str, sys.version_info[:2]))
        raise Unavailable(
            f"Python {version} runs this, 3.11 or 3.12 can: PYTHON=python3.11 make run"
        )
    if config.port == config.grpc_port:
        raise Unavailable(
            f"PORT and GRPC_PORT are both {config.port}; choose another one: "
            f"GRPC_PORT={config.port + 10} make run"
        )
    check_free(config.host, config.port, "PORT", config.port + 10)
    check_free(config.host, config.grpc_port, "GRPC_PORT", config.grpc_port + 10)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise Unavailable(
            f"{free >> 20} MB are free under {folder}, {MIN_FREE_BYTES >> 20} MB are needed: "
            "make room, or name another folder: TMPDIR=/path make run"
        )


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for everything temporary, of every process; removed at the end."""
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="tm-", dir=base if len(base) < MAX_BASE else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def log_file() -> Path:
    """Where all processes write their events: var/ of the checkout, where that can be written."""
    folder = ROOT / "var"
    try:
        folder.mkdir(exist_ok=True)
        (folder / "server.log").touch()
    except OSError:
        folder = Path(tempfile.gettempdir())
    return folder / "server.log"


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


@asynccontextmanager
async def _bus(redis_url: str) -> AsyncIterator[Bus]:
    from avatar.bus.redis import RedisBus

    bus = RedisBus(redis_url)
    try:
        yield bus
    finally:
        await bus.close()


async def _missing(bus: Bus, us: WorkerId) -> list[str]:
    workers = {stage: await bus.workers(stage) for stage in STAGES}
    return [stage for stage, found in workers.items() if {each.worker for each in found} <= {us}]


def _not_ready(url: str) -> list[str]:
    """What the gateway waits for, by its own word; empty once it is ready."""
    try:
        with _open(f"{url}/readyz", timeout=5):
            return []
    except urllib.error.HTTPError as error:
        with error:
            waiting_for: list[str] = json.loads(error.read()).get("waiting_for", [])
            return waiting_for or ["the gateway"]
    except OSError:
        return ["the gateway"]


# a proxy of the environment is for the world, not for this machine
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def _url(config: AppConfig) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, config.host)
    return f"http://{host}:{config.port}"


def _leave_alone() -> None:
    """A Redis of the operator's may go and come back."""


def _interrupt(number: int, frame: object) -> NoReturn:
    _ignore_signals()  # once is enough: make passes on a SIGTERM that this process got as well
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _undisturbed_end() -> Iterator[None]:
    """What follows the block ends by itself, and soon: no signal interrupts it."""
    try:
        yield
    finally:
        _ignore_signals()


def _interrupt_on_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, _interrupt)


if __name__ == "__main__":
    main()
