"""mypy --strict judges a program outside of this repository that uses the SDK."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.sdk_program import MISTAKES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests/data/sdk_program.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def judged(program: Path, cache: Path) -> list[str]:
    """The errors that mypy finds, with no setting but --strict."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", cache, program],
        cwd=program.parent,
        env={"PATH": "", "MYPYPATH": str(ROOT / "sdk")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def test_a_correct_program_passes(cache: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text())

    assert judged(program, cache) == []


def test_mistakes_are_found(cache: Path, tmp_path: Path) -> None:
    program = tmp_path / "mistakes.py"
    head = "import talkingmachines as tm\nclient = tm.Client()\n"
    mistakes = MISTAKES.strip().splitlines()
    program.write_text(head + "\n".join(mistakes) + "\n")
    found = {int(re.findall(r":(\d+):", line)[0]) for line in judged(program, cache)}

    assert found == set(range(3, 3 + len(mistakes)))
