"""Every example of the SDK, run as a reader would run it, against servers without a model."""

import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from talkingmachines import Client
from talkingmachines.testing import MockServer
from tests.fakes.examples import (
    ARGUMENTS,
    DESCRIPTION,
    EXAMPLES,
    command,
    environment,
    is_anybody_left,
    write_wav,
)
from tests.fakes.talk_server import Fail, FakeTalkServer
from tests.fakes.video import mp4_bytes

pytestmark = pytest.mark.integration


def run_example(name: str, server: FakeTalkServer | MockServer, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        env=environment(server.address),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(ARGUMENTS)


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
        shown = run_example("all_avatars.py", server, tmp_path / "new")

    assert sorted(shown.splitlines()) == [f"{tmp_path}/new/{name}.mp4" for name in ("mira", "otto")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_wav(tmp_path / "in/question.wav", b"\0\0" * 4_800, 16_000)
    return tmp_path


def test_own_llm(folder: Path) -> None:
    with MockServer() as server:
        question = folder / "in/question.wav"
        shown = run_example("own_llm.py", server, question, question)
        assert server.sessions == []

    answer = ["avatar: You said: What is your name?", "avatar: Let me think about that."]
    assert shown.splitlines() == 2 * ["you:    What is your name?", *answer, "(11 words heard)"]


def test_batch_render_goes_on_where_it_stopped(folder: Path) -> None:
    for name in ("a.wav", "b.wav", "notes.txt"):
        (folder / "in" / name).write_bytes(b"RIFF")
    (folder / "out").mkdir()
    (folder / "out/b.mp4").write_bytes(b"made before")
    with MockServer(slots=1) as server:
        shown = run_example("batch_render.py", server, folder / "in", folder / "out")

    assert shown.splitlines()[-1] == "2 made, 0 failed, 1 there already"
    assert (folder / "out/a.mp4").stat().st_size > 10_000
    assert (folder / "out/b.mp4").read_bytes() == b"made before"


def test_two_avatars(folder: Path) -> None:
    with MockServer() as server:
        shown = run_example("two_avatars.py", server, "mira", "otto", "--turns", "3")
        asked = [r.fields["ask"] for r in server.requests if r.rpc == "Talk.ask"]

    assert shown.splitlines() == ["mira: I am Mira.", "otto: I am Mira.", "mira: I am Mira."]
    assert asked == [{"text": "Who are you?"}, {"text": "I am Mira."}, {"text": "I am Mira."}]


def test_create_avatar(tmp_path: Path) -> None:
    with MockServer() as server:
        shown = run_example("create_avatar.py", server, DESCRIPTION, tmp_path / "a.mp4")

    assert shown.splitlines() == [
        "  0%  starting",
        " 50%  half way, 30 s left",
        "100%  ready",
        f"nova can be called: {tmp_path}/a.mp4",
    ]
    assert (tmp_path / "a.mp4").stat().st_size > 10_000


def test_load_test(folder: Path) -> None:
    with MockServer(slots=2) as server:
        server.hold()  # else the first callers may be gone before the last one comes
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "load_test.py"), "--callers", "3"],
            env=environment(server.address),
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert server.wait_for("Talk.say", 2)
            assert server.wait_for("CreateSession", 3)
            server.release()
            shown = process.communicate(timeout=60)[0].splitlines()

    assert sorted(shown[:3]) == ["refused: come back in 1 s", "served", "served"]
    assert shown[3] == "2 served, 1 refused"
    assert shown[4].startswith("text to sound: p50 ")


HELD_AT = {
    "say_to_file.py": "Say",
    "watch_an_answer.py": "Ask",
    "all_avatars.py": "Say",
    "own_llm.py": "Talk.reply",
    "batch_render.py": "Render",
    "two_avatars.py": "Talk.ask",
    "create_avatar.py": "WatchOperation",
    "load_test.py": "Talk.say",
}
"""What each has asked for when it is stopped."""


@pytest.mark.parametrize("name", ARGUMENTS)
def test_ctrl_c_leaves_nothing(name: str, folder: Path) -> None:
    with MockServer() as server:
        server.hold()
        with subprocess.Popen(
            command(name, folder),
            env=environment(server.address),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert server.wait_for(HELD_AT[name], timeout_s=30.0)
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=30)[1]

        assert (process.returncode, errors) == (130, "")
        assert not is_anybody_left(process.pid)
        assert server.wait_empty()
        with Client(server.address) as client:
            assert all(each.is_over for each in client.operations().operations)
    files = [path.name for path in folder.rglob("*") if path.is_file()]
    assert files == ["question.wav"]
