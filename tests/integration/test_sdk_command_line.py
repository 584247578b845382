"""The command `talkingmachines` against a server over real gRPC on loopback."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from talkingmachines.__main__ import main
from tests.fakes.talk_server import (
    Fail,
    FakeTalkServer,
    Hold,
    NotReady,
    chunk_ready,
    reply,
    summary,
    transcript,
    video,
)
from tests.fakes.video import mp4_bytes

pytestmark = pytest.mark.integration


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTalkServer]:
    with FakeTalkServer() as server:
        monkeypatch.setenv("TALKINGMACHINES_SERVER", server.address)
        yield server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "a.mp4"


@pytest.mark.usefixtures("server")
def test_say_writes_the_video_and_shows_words_and_figures(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["say", "Hello there.", "--avatar", "mira", "--out", str(out)])

    shown = capsys.readouterr()
    assert code == 0
    assert out.read_bytes() == mp4_bytes()
    assert shown.out.splitlines() == [
        "says:  Hello there.",
        f"{out}: 25 frames at 25 fps, 1.00 s of sound; first chunk after 0.25 s, all after 0.75 s",
    ]
    assert shown.err.splitlines() == [
        "1/3 chunks, 0.5 s of video in 0.2 s",
        "3/3 chunks, 1.4 s of video in 0.8 s",
        "chat: scripted",
        "speech: a tone",
    ]


def test_ask_shows_what_was_heard_and_what_is_answered(
    server: FakeTalkServer, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(transcript("Well?"), reply("One."), reply("Two."), *video(b"mp4"), summary())
    (tmp_path / "question.wav").write_bytes(b"RIFF")

    assert main(["ask", str(tmp_path / "question.wav"), "--out", str(out)]) == 0

    assert capsys.readouterr().out.splitlines()[:3] == [
        "heard: Well?",
        "says:  One.",
        "says:  Two.",
    ]
    assert server.heard[0].audio == b"RIFF"


def test_text_and_audio_come_from_stdin_too(
    server: FakeTalkServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"From a pipe.\n")))
    assert main(["say", "-", "--out", str(out)]) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"RIFF")))
    assert main(["ask", "-", "--out", str(out)]) == 0

    assert server.heard[0].text == "From a pipe."
    assert server.heard[1].audio == b"RIFF"


@pytest.mark.usefixtures("server")
def test_json_is_one_value_with_everything(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out.parent / "question.wav").write_bytes(b"RIFF")
    assert main(["ask", str(out.parent / "question.wav"), "--json", "--out", str(out)]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "path": str(out),
        "transcript": "What is your name?",
        "reply": "I am Mira.",
        "summary": {
            "frame_count": 25,
            "frame_rate": 25.0,
            "audio_s": 1.0,
            "first_chunk_s": 0.25,
            "total_s": 0.75,
            "models": ["chat: scripted", "speech: a tone"],
        },
    }


@pytest.mark.usefixtures("server")
def test_avatars_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["avatars"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mira  Mira: A museum guide.",
        "otto  Otto: A retired clockmaker.",
    ]

    assert main(["avatars", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {
        "id": "mira",
        "display_name": "Mira",
        "description": "A museum guide.",
        "is_shipped": True,
    }


EXITS = [
    (grpc.StatusCode.INVALID_ARGUMENT, "NO_SPEECH", 2),
    (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", 2),
    (grpc.StatusCode.UNAVAILABLE, "MODEL_SERVER_UNREACHABLE", 3),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", 4),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 5),
    (grpc.StatusCode.DATA_LOSS, "CORRUPT_FILE", 1),
]


@pytest.mark.parametrize(("status", "reason", "code"), EXITS)
def test_each_kind_of_error_has_its_exit_code_and_leaves_no_file(
    server: FakeTalkServer,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    status: grpc.StatusCode,
    reason: str,
    code: int,
) -> None:
    server.script(*video(b"mp4"), Fail(status, reason, "Do this instead."))

    assert main(["say", "Hello.", "--out", str(out)]) == code

    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "talkingmachines: Do this instead.\n")
    assert list(out.parent.iterdir()) == []


def test_an_error_is_json_too_when_json_is_asked_for(
    server: FakeTalkServer, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", "Full.", 2.5))

    assert main(["say", "Hello.", "--json", "--out", str(out)]) == 4

    error = {"reason": "NO_FREE_SLOT", "message": "Full.", "retry_after_s": 2.5}
    assert json.loads(capsys.readouterr().out) == {"error": error}


def test_without_a_server_the_command_says_how_to_start_one(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["say", "Hello.", "--server", "127.0.0.1:1", "--out", str(out)]) == 3
    assert "start it with `make run`" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(
    server: FakeTalkServer, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["say", "Hello.", "--out", str(out / "b.mp4")]) == 2
    assert capsys.readouterr().err.startswith("talkingmachines: No such file or directory: ")
    assert main(["say", "Hello.", "--out", str(out.parent)]) == 2
    assert capsys.readouterr().err.endswith("name a file in it.\n")
    assert server.heard == []


def test_the_command_waits_for_a_server_that_is_starting(server: FakeTalkServer, out: Path) -> None:
    server.script(NotReady())

    assert main(["say", "Hello.", "--wait", "30", "--out", str(out)]) == 0
    assert [heard.rpc for heard in server.heard] == ["Watch", "Say"]


def test_the_command_waits_for_a_full_server(server: FakeTalkServer, out: Path) -> None:
    server.script(Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", retry_after_s=0.05))

    assert main(["say", "Hello.", "--retry", "30", "--out", str(out)]) == 0


@pytest.mark.parametrize("seconds", ["-1", "soon", "inf", "nan"])
def test_what_is_no_time_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["say", "Hello.", "--deadline", seconds, "--out", "a.mp4"])
    assert "--deadline" in capsys.readouterr().err


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "every slot of the server is taken" in capsys.readouterr().out


IN_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('talkingmachines', run_name='__main__', alter_sys=True)"
)
"""The command as a terminal starts it; a shell's background jobs ignore Ctrl-C by inheritance."""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_signal_cancels_the_call_and_leaves_no_file(
    server: FakeTalkServer, out: Path, number: signal.Signals, code: int
) -> None:
    server.script(reply("One."), chunk_ready(1, 9), *video(b"mp4"), Hold())
    command = [sys.executable, "-c", IN_A_TERMINAL, "say", "Hello.", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"says:  One.\n"
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1].decode()

    assert process.returncode == code
    assert "Traceback" not in errors
    assert server.wait_abandoned()
    assert list(out.parent.iterdir()) == []
