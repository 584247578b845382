"""The one command for a GPU: every part leaves what it found, and none outlives its limit."""

import json
from pathlib import Path

import pytest

from bench.denoise_profiles import PROFILES
from bench.gpu_check import LIMIT_S, Part, check, parts, unmeasured

pytestmark = pytest.mark.unit


def test_every_bar_is_measured_as_it_asks_and_as_it_comes(tmp_path: Path) -> None:
    chosen = parts(tmp_path, toy=False)
    names = [part.name for part in chosen]
    assert names == ["tm-18b-bar", "realvideo-2step-bar", "tm-18b-plain", "realvideo-2step-plain", "tests"]  # fmt: skip  # noqa: E501
    for part in chosen[:2]:
        capture, linears = PROFILES[part.name.removesuffix("-bar")].bar_with
        assert " ".join(part.command).find(f"--capture {capture} --linears {linears}") > 0
    assert LIMIT_S < 480


def test_a_part_that_fails_or_hangs_costs_no_other(tmp_path: Path) -> None:
    chosen = [
        Part("fails", ("no_such_module",), 30),
        Part("hangs", ("http.server", "0", "--bind", "127.0.0.1"), 1),
        Part("ends", ("this",), 30),
    ]
    assert not check(tmp_path, chosen)
    summary = (tmp_path / "summary.md").read_text()
    for said in ("| fails | failed with 1 |", "| hangs | stopped after 1 s |", "| ends | done |"):
        assert said in summary
    assert "No module named no_such_module" in summary
    assert "Beautiful is better than ugly" in summary


def test_what_there_is_no_time_for_is_told(tmp_path: Path) -> None:
    assert not check(tmp_path, [Part("ends", ("this",), 30)], limit_s=0)
    assert "| ends | not run: no time left |" in (tmp_path / "summary.md").read_text()


def test_a_part_that_measured_nothing_says_why(tmp_path: Path) -> None:
    figures = tmp_path / "out.json"
    command = ("bench.denoise", "--profile", "tm-18b", "--device", "cpu", "--json", str(figures))
    assert check(tmp_path, [Part("out", command, 60)])
    assert "| out | not run: no GPU |" in (tmp_path / "summary.md").read_text()
    values = json.loads(figures.read_text())
    values["values"]["profiles"]["other"] = {"measured": {}}
    figures.write_text(json.dumps(values))
    assert unmeasured(figures) is None


def test_what_an_earlier_run_left_is_not_told(tmp_path: Path) -> None:
    for name in ("ends.log", "ends.json"):
        (tmp_path / name).write_text("of yesterday")
    assert not check(tmp_path, [Part("ends", ("this",), 30)], limit_s=0)
    assert "of yesterday" not in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "ends.json").exists()
