"""Every example of the SDK, run as a reader would run it, against a scripted server."""

import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from tests.fakes.talk_server import Fail, FakeTalkServer
from tests.fakes.video import mp4_bytes

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).resolve().parents[2] / "sdk/examples"


def run_example(name: str, server: FakeTalkServer, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        env={"TALKINGMACHINES_SERVER": server.address, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "say_to_file.py",
        "watch_an_answer.py",
        "all_avatars.py",
    }


def test_say_to_file(tmp_path: Path) -> None:
    with FakeTalkServer() as server:
        shown = run_example("say_to_file.py", server, "Good morning.", tmp_path / "a.mp4")

    assert shown == f"{tmp_path}/a.mp4: 1.0 s, made in 0.8 s\n"
    assert (tmp_path / "a.mp4").read_bytes() == mp4_bytes()


def test_watch_an_answer(tmp_path: Path) -> None:
    (tmp_path / "question.wav").write_bytes(b"RIFF")
    with FakeTalkServer() as server:
        shown = run_example(
            "watch_an_answer.py", server, tmp_path / "question.wav", tmp_path / "a.mp4"
        )

    assert shown.splitlines() == [
        "You asked: What is your name?",
        "The answer: I am Mira.",
        "The first picture came after 0.25 s",
        "1.0 s of video are there",
        "1.4 s of video are there",
        "It was chat: scripted, speech: a tone",
    ]
    assert (tmp_path / "a.mp4").read_bytes() == mp4_bytes()


def test_all_avatars_though_the_server_is_full_at_first(tmp_path: Path) -> None:
    with FakeTalkServer() as server:
        full = Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", "Full.", 0.05)
        server.script()  # of ListAvatars
        server.script(full)
        server.script(full)
        shown = run_example("all_avatars.py", server, tmp_path)

    assert sorted(shown.splitlines()) == [f"{tmp_path}/mira.mp4", f"{tmp_path}/otto.mp4"]
