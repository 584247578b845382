"""What is looked at before anything starts, and the port's hand-over; on loopback only."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from avatar.bus import WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.errors import InvalidInput, Unavailable
from avatar.media import WorkerId
from services import run
from services.ports import check_free, free_port, listen_shared
from services.settings import AppConfig
from services.startup import StartupListener

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {"PATH": "/usr/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"}
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def listener(port: int) -> Iterator[StartupListener]:
    made = StartupListener("127.0.0.1", port)
    yield made
    made.close()


def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.run"],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_busy_port_is_one_line_that_names_the_fix(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(Unavailable) as caught:
            check_free("127.0.0.1", port, "PORT", 8010)
    assert "PORT=8010 make run" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_shared_by_another_program_is_busy_too(port: int) -> None:
    with listen_shared("127.0.0.1", port):
        with pytest.raises(Unavailable):
            check_free("127.0.0.1", port, "PORT", 8010)


def test_one_port_for_two_servers_is_one_line_that_names_the_fix(port: int) -> None:
    with pytest.raises(Unavailable, match=f"both {port}; .*GRPC_PORT={port + 10} make run"):
        run.check_machine(AppConfig(port=port, grpc_port=port))


def test_who_may_not_have_a_port_of_root_is_told_of_one_that_anybody_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(Unavailable, match=r"for root only; .* PORT=8080 make run"):
        check_free("127.0.0.1", 80, "PORT", 90)


def test_a_full_disk_is_one_line_that_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10 << 30, 10 << 30, 3 << 20))
    config = AppConfig(port=free_port(), grpc_port=free_port())
    with pytest.raises(Unavailable, match="3 MB are free") as caught:
        run.check_machine(config)
    assert "TMPDIR=" in str(caught.value)


def test_a_wrong_python_is_one_line_that_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    with pytest.raises(Unavailable, match=r"Python 3\.13 .*PYTHON=python3\.11 make run"):
        run.check_machine(AppConfig())


def test_the_launcher_says_what_is_wrong_and_stops(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = start(PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port} of 127.0.0.1 is in use")
    assert len(done.stderr.splitlines()) == 1


def test_a_redis_url_that_is_none_is_one_line_that_names_it(port: int) -> None:
    done = start(PORT=str(port), GRPC_PORT=str(free_port()), REDIS_URL="garbage")
    assert done.returncode == 1
    assert done.stderr.startswith("error: REDIS_URL is no address of a Redis")
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelt_setting_in_the_serve_config_is_named(tmp_path: Path) -> None:
    config = (ROOT / "ray_config.yaml").read_text().replace("profile:", "profil:")
    (tmp_path / "ray_config.yaml").write_text(config)
    with pytest.raises(InvalidInput, match=r"args\.profil"):
        run.read_config(tmp_path / "ray_config.yaml")


def test_the_serve_config_of_this_project_is_read() -> None:
    deployed, config = run.read_config(ROOT / "ray_config.yaml")
    assert config.num_slots >= 2
    assert len(deployed["applications"][0]["deployments"]) == 5


def test_it_is_healthy_at_once_and_says_what_it_waits_for(
    listener: StartupListener, port: int
) -> None:
    listener.waiting_for = ["score_worker"]
    assert get(port, "/healthz") == (200, {"status": "ok"})
    status, problem = get(port, "/readyz")
    assert status == 503
    assert problem["waiting_for"] == ["score_worker"]
    assert get(port, "/")[0] == 503


def test_who_connected_before_the_hand_over_is_still_answered(
    listener: StartupListener, port: int
) -> None:
    with (
        socket.create_connection(("127.0.0.1", port)) as early,
        listen_shared("127.0.0.1", port) as heir,
    ):
        early.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        listener.close()
        answer = early.recv(1000)
        assert b" 200 " in answer.splitlines()[0]
        with socket.create_connection(("127.0.0.1", port)) as late:
            heir.setblocking(True)
            accepted, address = heir.accept()
            assert address == late.getsockname()
            accepted.close()


async def test_a_start_that_takes_too_long_says_what_is_missing_and_how_to_wait_longer(
    listener: StartupListener, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = MemoryBus()
    await bus.advertise(WorkerInfo(WorkerId("audio_llm-1"), "audio_llm", "", 2))

    @asynccontextmanager
    async def here(redis_url: str) -> AsyncIterator[MemoryBus]:
        yield bus

    monkeypatch.setattr(run, "_bus", here)
    config = AppConfig(port=port, ready_timeout_s=0.5)
    with pytest.raises(Unavailable) as caught:
        await run.hand_over("", config, listener, lambda: "", run.Progress())
    told = str(caught.value)
    assert "still waiting for audio_encoder, score_worker, vae_decoder, gateway" in told
    assert "READY_TIMEOUT_S=1 make run" in told
    assert "not ready within 0.5 s" in told


def test_closing_twice_is_closing(listener: StartupListener) -> None:
    listener.close()
    listener.close()


@pytest.mark.timeout(180)
def test_one_process_tells_its_metrics_too(port: int, tmp_path: Path) -> None:
    settings = {"PORT": str(port), "GRPC_PORT": str(free_port()), "LOG_FILE": str(tmp_path / "log")}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.run"],
        cwd=ROOT,
        env={**ENVIRONMENT, **settings, "PROFILE": "marker", "RUNTIME": "inproc"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line.startswith("Open http") for line in process.stdout)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            told = response.read().decode()
        assert 'avatar_slots{stage="score_worker"} 2.0' in told.splitlines()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
