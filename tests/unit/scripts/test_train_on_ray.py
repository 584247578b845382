"""The way onto a Ray cluster says what it needs."""

import importlib.util

import pytest

from scripts.train_on_ray import main

pytestmark = pytest.mark.unit


def test_without_ray_train_the_fix_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("pandas") and importlib.util.find_spec("pyarrow"):
        pytest.skip("Ray Train is installed")
    assert main(["--workers", "2", "--", "--recipe", "toy", "--shards", "x"]) == 1
    assert 'pip install "ray[train]' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--", "--recipe", "toy"], "--workers"),
        (["--workers", "0", "--", "--recipe", "toy"], "at least 1"),
        (["--workers", "2", "--", "--recipe", "toy"], "--shards is needed"),
        (["--workers", "2", "--", "--only", "lips"], "audio, teacher, causal, student"),
    ],
)
def test_wrong_arguments_are_named_before_anything_starts(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert reason in capsys.readouterr().err
