"""The launcher ends whole, whatever ends it and however early: no process, no file, no stack."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # no stubs
import pytest

from services.ports import free_port
from tests.fakes.graph import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent
STOP_S = 60.0
PROGRESS = re.compile(r"\[ *\d+\.\d s\] ")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path("/tmp") / f"tmt-{os.getpid()}"  # short: sockets lie below
    made.mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def launcher(folder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`make run` with small engines, in a process group of its own."""
    config = tmp_path / "ray_config.yaml"
    text = (ROOT / "ray_config.yaml").read_text()
    config.write_text(text.replace("services.app:build", "tests.fakes.workers:build"))
    environment = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "TMPDIR": str(folder),
        "PORT": str(free_port()),
        "GRPC_PORT": str(free_port()),
        "LOG_FILE": str(tmp_path / "server.log"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.run", "--config", str(config)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()
    for left in processes_of(folder):
        left.kill()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Living processes that were started with this folder for their temporary files."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder):
                found.append(process)
    return found


def nothing_left(folder: Path) -> bool:
    return not processes_of(folder) and not any(folder.iterdir())


def only_progress(output: str) -> bool:
    return all(PROGRESS.match(line) for line in output.splitlines())


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    pytest.fail(f"the launcher ended: {''.join(seen)}")


@pytest.mark.parametrize(
    ("moment", "status"), [("Ray is starting", 130), ("waiting for", 130), ("Open http", 0)]
)
def test_a_sigterm_to_all_its_processes_and_one_more_end_it_cleanly(
    launcher: subprocess.Popen[str], folder: Path, moment: str, status: int
) -> None:
    read_until(launcher, moment)
    os.killpg(launcher.pid, signal.SIGTERM)
    launcher.send_signal(signal.SIGTERM)  # as make does, which got the first one too
    output, _ = launcher.communicate(timeout=STOP_S)
    assert only_progress(output)
    assert launcher.returncode == status
    assert nothing_left(folder)


def test_a_sigterm_within_ray_init_ends_it_cleanly_too(
    launcher: subprocess.Popen[str], folder: Path
) -> None:
    asyncio.run(until(lambda: any(folder.glob("tm-*/session_*/sockets/raylet")), limit_s=60))
    os.killpg(launcher.pid, signal.SIGTERM)
    output, _ = launcher.communicate(timeout=STOP_S)
    assert only_progress(output)
    assert launcher.returncode == 130
    assert nothing_left(folder)


def test_it_ends_with_an_error_when_its_redis_has_gone(
    launcher: subprocess.Popen[str], folder: Path
) -> None:
    read_until(launcher, "Open http")
    children = psutil.Process(launcher.pid).children()
    (valkey,) = (child for child in children if "valkey" in child.name())
    valkey.kill()
    output, _ = launcher.communicate(timeout=STOP_S)
    assert launcher.returncode == 1
    assert output.splitlines()[-1].startswith("error: the valkey-server of this program has ended")
    assert nothing_left(folder)
