"""The live and operators' commands of `talkingmachines`, against the mock server."""

import importlib
import io
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from talkingmachines.__main__ import main
from talkingmachines.testing import MockServer
from tests.integration.test_sdk_command_line import IN_A_TERMINAL

pytestmark = pytest.mark.integration


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockServer]:
    with MockServer() as server:
        monkeypatch.setenv("TALKINGMACHINES_SERVER", server.address)
        yield server


def type_in(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_talk_asks_what_is_typed_and_shows_what_is_said(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, "Who are you?", "/say One two.", "", "/quit", "never")

    assert main(["talk", "--avatar", "otto"]) == 0
    assert capsys.readouterr().out.splitlines() == ["avatar: I am Mira.", "avatar: One two."]
    asked = [request.fields for request in server.requests if request.rpc == "Talk.ask"]
    assert asked == [{"ask": {"text": "Who are you?"}}]
    assert server.sessions == []


def test_talk_carries_out_commands(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, "/cue smile", "/cue jump", "/swap otto", "/swap nobody", "/stop", "Well?")

    assert main(["talk"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert notes[0].startswith("cue='jump': choose one of smile")
    assert notes[1:] == ["(now with otto)", "(refused: No avatar 'nobody'.)"]
    assert server.wait_for("Talk.interrupt")


def test_talk_tells_each_event_as_json(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, "Well?")

    assert main(["talk", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events][:2] == ["ResponseCreated", "Sentence"]
    assert events[1]["text"] == "I am Mira."


def test_talk_records_the_call(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    type_in(monkeypatch, "/say One two three four.")

    assert main(["talk", "--save", str(tmp_path / "a.mp4")]) == 0
    with av.open(tmp_path / "a.mp4", "r") as container:
        pictures = list(container.decode(video=0))
    with av.open(tmp_path / "a.mp4", "r") as container:
        sound_s = sum(frame.samples for frame in container.decode(audio=0)) / 48_000
    assert [float(frame.time or 0) for frame in pictures] == pytest.approx(
        [0.04 * number for number in range(30)]
    )
    assert pictures[0].width == 96
    assert sound_s == pytest.approx(1.2, abs=0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_talk_ends_with_the_call(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = threading.Event()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, __iter__=None))
    monkeypatch.setattr(
        "talkingmachines._cli.talk._Call.read_commands", lambda self: silent.wait(30.0)
    )

    def end() -> None:
        assert server.wait_for("Talk")
        server.end_session(server.sessions[0], "time_limit")

    threading.Thread(target=end).start()
    assert main(["talk"]) == 0
    silent.set()
    assert capsys.readouterr().err.splitlines()[-1] == "(the call has ended: time_limit)"


class Card:
    """A sound card: hears half a second of silence, then nothing more; keeps what it plays."""

    def __init__(self) -> None:
        self.played: list[bytes] = []
        self.opened: list[tuple[str, int]] = []
        self.num_closed = 0
        self._left = [b"\0\0" * 640] * 12
        self._is_over = threading.Event()

    def stream(self, kind: str, samplerate: int, channels: int, dtype: str) -> SimpleNamespace:
        assert (channels, dtype) == (1, "int16")
        self.opened.append((kind, samplerate))
        return SimpleNamespace(
            start=lambda: None, close=self._close, write=self.played.append, read=self._read
        )

    def _close(self) -> None:
        self.num_closed += 1
        self._is_over.set()

    def _read(self, num_samples: int) -> tuple[bytes, bool]:
        if not self._left:
            self._is_over.wait(0.05)
            return b"", False
        return self._left.pop(), False


def test_talk_speaks_and_hears_where_there_is_a_sound_card(
    server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card()
    module = SimpleNamespace(
        RawInputStream=lambda **how: card.stream("in", **how),
        RawOutputStream=lambda **how: card.stream("out", **how),
    )
    real = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: module if name == "sounddevice" else real(name)
    )
    type_in(monkeypatch, "/say One two.")

    assert main(["talk", "--microphone"]) == 0
    assert sorted(card.opened) == [("in", 16_000), ("out", 48_000)]
    assert (len(card.played), card.num_closed) == (30, 2)
    assert server.wait_for("Talk.microphone")


def test_a_missing_extra_says_how_to_install_it(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setitem(sys.modules, "av", None)

    assert main(["talk", "--microphone"]) == 2
    assert "pip install 'talkingmachines[microphone]'" in capsys.readouterr().err
    assert main(["talk", "--save", "a.mp4"]) == 2
    assert "pip install 'talkingmachines[mux]'" in capsys.readouterr().err
    assert server.sessions == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_signal_ends_the_call_and_leaves_no_file(
    server: MockServer, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", IN_A_TERMINAL, "talk", "--save", str(tmp_path / "a.mp4")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"Well?\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"avatar: I am Mira.\n"
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1].decode()

    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert server.wait_empty()
    assert list(tmp_path.iterdir()) == []


def test_render_makes_a_video_of_a_recording(server: MockServer, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(b"RIFF")

    assert main(["render", str(tmp_path / "speech.wav"), "--out", str(tmp_path / "a.mp4")]) == 0
    assert (tmp_path / "a.mp4").stat().st_size > 10_000


# For operators


def test_sessions_workers_and_draining(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    with MockServer(key="secret") as server:
        how = ["--server", server.address, "--key-file", str(tmp_path / "key")]
        assert main(["sessions", *how]) == 0
        assert main(["workers", *how]) == 0
        assert main(["drain", "vae_decoder-1", "--until-empty", *how]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert main(["workers", "--json", *how]) == 0
        workers = json.loads(capsys.readouterr().out)
        assert main(["drain", "nobody", *how]) == 2
        assert main(["sessions", "--server", server.address]) == 6

    assert re.split(" +", shown[0]) == [
        "session", "avatar", "state", "age", "connected", "viewers", "key",
    ]  # fmt: skip
    assert shown[2].split() == ["gateway-1", "gateway", "0/2", "-", "-"]
    assert shown[-1] == "vae_decoder-1 takes no new sessions; it has 0."
    assert [worker["stage"] for worker in workers if worker["draining"]] == ["vae_decoder"]


# doctor


class Page(BaseHTTPRequestHandler):
    """The HTTP side of a server that waits for `missing`."""

    missing: tuple[str, ...] = ()
    version = "0.1.7"
    date = ""

    def do_GET(self) -> None:  # named by the library
        body = {"info": {"version": self.version}, "waiting_for": list(self.missing)}
        content = json.dumps(body).encode()
        self.send_response(503 if self.missing else 200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.date or super().date_time_string(timestamp)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, list[str]]]:
    """Exit code, and the findings by check: verdict and text."""
    code = main(["doctor", "--json", *arguments])
    found: dict[str, list[str]] = {}
    for each in json.loads(capsys.readouterr().out.splitlines()[0]):
        found.setdefault(each["check"], []).append(f"{each['verdict']} {each['text']}")
    return code, found


@pytest.mark.usefixtures("server")
def test_doctor_finds_nothing_wrong(capsys: pytest.CaptureFixture[str], page: str) -> None:
    code, found = doctor(capsys, "--http", page)

    assert code == 0
    assert found["ready"] == ["ok the server can talk"]
    assert found["avatars"] == ["ok mira, otto"]
    assert found["pool"][0] == "ok gateway: 1 running, 2 slots free"
    assert found["http"] == [f"ok {page} is ready"]
    assert found["version"][0].startswith("ok server 0.1.7, client 0.1.")
    assert found["clock"][0].startswith("ok ")


def test_doctor_says_what_mends_each_thing(
    server: MockServer,
    capsys: pytest.CaptureFixture[str],
    page: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Page, "missing", ("score_worker",))
    monkeypatch.setattr(Page, "version", "3.0.0")
    monkeypatch.setattr(Page, "date", "Tue, 01 Jan 2019 00:00:00 GMT")
    code, found = doctor(capsys, "--http", page)

    assert code == 1
    assert "waits for score_worker" in found["http"][0]
    assert "install the client of the server's version" in found["version"][0]
    assert found["clock"][0].startswith("FAIL ")

    server.set_ready(False)
    monkeypatch.setattr("talkingmachines._cli.doctor.READY_S", 0.2)
    code, found = doctor(capsys, "--http", "http://127.0.0.1:1")
    assert code == 3
    assert "was not ready within" in found["ready"][0]
    assert found["http"][0].startswith("FAIL ")
    assert "key" not in found


def test_doctor_says_where_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys, "--server", "127.0.0.1:1")

    assert code == 3
    assert "start the server with `make run`" in found["port"][0]


def test_doctor_says_that_a_key_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    with MockServer(key="secret") as server:
        code, found = doctor(capsys, "--server", server.address)

    assert code == 6
    assert found["key"] == ["FAIL This server asks for a key."]


# bench


@pytest.mark.usefixtures("server")
def test_bench_reports_who_was_served_and_who_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--sessions", "3", "--seconds", "0.1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert (told["sessions"], told["opened"]) == (3, 2)
    assert told["refused"] == {"NO_FREE_SLOT": 1}
    assert (told["lost"], told["unanswered"]) == ({}, 0)
    assert told["open_s"]["count"] == 2
    assert told["say_s"]["count"] == 2
    assert told["say_s"]["p50"] <= told["say_s"]["p99"] <= told["say_s"]["most"]


def test_bench_measures_interruptions_too(
    server: MockServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hold(1)
    monkeypatch.setattr("talkingmachines._cli.bench_caller.SPEECH_S", 0.0)
    for pause in ("HEARD_S", "PAUSE_S"):
        monkeypatch.setattr(f"talkingmachines._cli.bench_caller.{pause}", 0.0)

    assert main(["bench", "--seconds", "1", "--pictures", "none"]) == 0
    shown = capsys.readouterr().out.splitlines()
    stopped = next(line for line in shown if line.startswith("interruption to silence"))
    assert int(stopped.split()[-1]) > 0


def test_bench_of_a_full_server_fails(
    server: MockServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail("CreateSession", "NO_FREE_SLOT")

    assert main(["bench", "--seconds", "1"]) == 3
    assert "1 of NO_FREE_SLOT" in capsys.readouterr().err
