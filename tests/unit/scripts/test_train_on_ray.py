"""The way onto a Ray cluster says what it needs."""

import importlib.util

import pytest

from scripts.train_on_ray import main

pytestmark = pytest.mark.unit


def test_without_ray_train_the_fix_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("pandas") and importlib.util.find_spec("pyarrow"):
        pytest.skip("Ray Train is installed")
    assert main(["--workers", "2", "--", "--recipe", "toy"]) == 1
    assert 'pip install "ray[train]' in capsys.readouterr().out


def test_how_many_workers_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--", "--recipe", "toy"])
    assert "--workers" in capsys.readouterr().err
