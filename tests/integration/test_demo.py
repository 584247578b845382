"""`make demo` against a scripted server: one that runs, and one it starts itself."""

import socket
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts import demo
from tests.fakes.talk_server import FakeTalkServer
from tests.fakes.video import mp4_bytes

pytestmark = pytest.mark.integration

SERVER = """
import signal, sys
sys.path.insert(0, "")
from tests.fakes.talk_server import FakeTalkServer
print("loading", flush=True)
with FakeTalkServer({port}):
    signal.sigwait({{signal.SIGINT}})
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_results(folder: Path) -> None:
    assert (folder / "say.mp4").read_bytes() == mp4_bytes()
    assert (folder / "ask.mp4").read_bytes() == mp4_bytes()
    with Image.open(folder / "contact.png") as sheet:
        assert sheet.width > 1000


def test_a_running_server_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeTalkServer() as server:
        assert demo.main(["--server", server.address, "--folder", str(tmp_path)]) == 0

    check_results(tmp_path)
    assert [heard.rpc for heard in server.heard] == ["Watch", "ListAvatars", "Say", "Ask"]
    assert [heard.avatar_id for heard in server.heard[2:]] == ["mira", "otto"]
    assert server.heard[3].audio == demo.QUESTION.read_bytes()
    shown = capsys.readouterr().out
    assert "$ talkingmachines say 'Hello, I am Mira." in shown
    assert "heard: What is your name?" in shown


def test_without_a_server_it_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = f"127.0.0.1:{free_port()}"

    assert demo.main(["--server", server, "--folder", str(tmp_path)]) == 3
    assert "`make run`, or add --start" in capsys.readouterr().out


def test_a_server_of_its_own_is_started_and_ended(tmp_path: Path) -> None:
    port = free_port()
    graph = [sys.executable, "-c", SERVER.format(port=port)]

    code = demo.main(["--server", f"127.0.0.1:{port}", "--start", "--folder", str(tmp_path)], graph)

    assert code == 0
    check_results(tmp_path)
    assert (tmp_path / "run.log").read_text() == "loading\n"
    assert not demo.is_listening(f"127.0.0.1:{port}")


def test_a_server_that_does_not_start_is_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = [sys.executable, "-c", "raise SystemExit('port 8000 is taken: choose PORT=8080')"]
    server = f"127.0.0.1:{free_port()}"

    assert demo.main(["--server", server, "--start", "--folder", str(tmp_path)], graph) == 1
    assert "port 8000 is taken: choose PORT=8080" in capsys.readouterr().err
