"""Avatars made and removed on the command line, against the mock server."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from talkingmachines import Client
from talkingmachines.__main__ import main
from talkingmachines.testing import MockServer
from tests.fakes.examples import environment

pytestmark = pytest.mark.integration

NOVA = 'id = "nova"\ndisplay_name = "Nova"\ndescription = "She looks at stars."\n'
OF_ADA = [
    "--name=ada",
    "--display-name=Ada",
    "--description=She flies.",
    "--persona=You are Ada.",
    "--agreed-by=Ada herself",
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockServer]:
    with MockServer() as server:
        monkeypatch.setenv("TALKINGMACHINES_SERVER", server.address)
        yield server


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "nova.toml"
    path.write_text(NOVA)
    return path


@pytest.mark.usefixtures("server")
def test_an_avatar_is_made_and_removed(
    description: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["create", str(description)]) == 0
    shown = capsys.readouterr()
    assert shown.out == "nova can be called.\n"
    assert shown.err.splitlines() == ["0%, starting", "50%, half way, 30 s left", "100%, ready"]
    assert main(["avatars"]) == 0
    assert "nova  Nova: She looks at stars.\n" in capsys.readouterr().out
    assert main(["remove", "nova"]) == 0
    assert main(["remove", "nova"]) == 2
    assert main(["remove", "mira"]) == 6


@pytest.mark.usefixtures("server")
def test_it_is_told_as_json(description: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", str(description), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert (told["avatar"], told["state"], told["share"]) == ("nova", "done", 1.0)
    assert told["created"] == "2026-01-01T00:00:01+00:00"


def test_a_portrait_needs_all_that_is_told_of_it(
    server: MockServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "ada.png"
    picture.write_bytes(b"PNG")
    assert main(["create", str(picture), "--name", "ada"]) == 2
    missing = "--display-name, --description, --persona, --agreed-by"
    assert f"give {missing} too" in capsys.readouterr().err
    assert main(["create", str(picture), *OF_ADA]) == 0
    (asked,) = [each.fields for each in server.requests if each.rpc == "CreateAvatar"]
    told = asked["portrait"]
    assert isinstance(told, dict)
    assert told["consent"] == {"given": True, "given_by": "Ada herself"}


def test_what_cannot_be_made_says_why(
    server: MockServer, description: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail("CreateAvatar", "PROFILE_TAKES_NO_DESCRIPTION", "Send a portrait.")
    assert main(["create", str(description)]) == 2
    assert "Send a portrait." in capsys.readouterr().err
    assert main(["create", "/nowhere/nova.toml"]) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_leaves_stops_the_making(
    server: MockServer, description: Path, number: int, code: int
) -> None:
    server.hold()
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from talkingmachines.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "create", str(description)],
        env=environment(server.address),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("half way" in line for line in process.stderr)
        process.send_signal(number)
        process.communicate(timeout=30)

    assert process.returncode == code
    with Client(server.address) as client:
        assert [each.state for each in client.operations().operations] == ["cancelled"]
