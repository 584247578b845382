"""The command that makes one's own avatar: what it refuses before anything is made."""

import json
import sys
from pathlib import Path

import pytest

from avatar.errors import InvalidInput
from training.character.__main__ import alone, main, read
from training.character.template import template

pytestmark = pytest.mark.unit


def test_a_file_is_called_as_its_avatar(tmp_path: Path) -> None:
    path = tmp_path / "zed.toml"
    path.write_text(template("nova", "human", 7))
    with pytest.raises(InvalidInput, match=r"'nova' was given, but the file is called zed\.toml"):
        read(path)
    assert read(path.rename(tmp_path / "nova.toml")).character.id == "nova"


def test_an_avatar_is_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path / "runs", "nova"):
        with pytest.raises(InvalidInput, match="another process"), alone(tmp_path / "runs", "nova"):
            pass
        with alone(tmp_path / "runs", "zed"):
            pass
    with alone(tmp_path / "runs", "nova"):
        pass


def test_what_is_refused_is_said_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zed.toml"
    path.write_text(template("nova", "human", 7))
    runs = tmp_path / "runs"
    monkeypatch.setattr(sys, "argv", ["character", "train", str(path), "--runs", str(runs)])
    assert main() == 1
    assert "must be the same" in capsys.readouterr().err
    assert not runs.exists()


def test_what_is_refused_is_said_to_a_program_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nova.toml"
    path.write_text(template("nova", "human", 7) + "\ncolour = 3\n")
    monkeypatch.setattr(sys, "argv", ["character", "check", str(path), "--json"])
    assert main() == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["reason"] == "INVALID_INPUT"
    assert "colour" in error["message"]
