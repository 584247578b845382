"""The programs in the SDK's README run as they stand, against the mock server."""

import ast
import re
from pathlib import Path

import pytest

import talkingmachines as tm
from talkingmachines.testing import MockServer

pytestmark = pytest.mark.integration

README = Path(__file__).resolve().parents[2] / "sdk/README.md"
BLOCKS = re.findall(r"(?s)```python\n(.*?)```", README.read_text())
WHOLE = [block for block in BLOCKS if "import" in block]


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_each_whole_program_runs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("question.wav", "my_own_voice.wav"):
        Path(name).write_bytes(b"RIFF")
    Path("ada.jpg").write_bytes(b"JPEG")
    Path("nova.toml").write_text('id = "nova"\ndisplay_name = "Nova"\ndescription = "A test."\n')
    with MockServer() as server:
        monkeypatch.setenv("TALKINGMACHINES_SERVER", server.address)
        exec(compile(WHOLE[number], "README.md", "exec"), {})
        assert server.sessions == []


def test_the_programs_are_found() -> None:
    assert len(WHOLE) == 4


@pytest.mark.parametrize("block", BLOCKS)
def test_each_piece_of_a_program_is_one_and_uses_names_that_exist(block: str) -> None:
    code = compile(block, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    named = {name for name in code.co_names if name[0].isupper()}
    assert named <= {*tm.__all__, "MockServer"}


def test_the_table_of_errors_is_that_of_the_package() -> None:
    (tree,) = re.findall(r"(?s)```\n(TalkError.*?)```", README.read_text())
    listed = re.findall(r"(?m)^[│├└─ ]*([A-Z]\w+)", tree)
    errors = {name for name in tm.__all__ if isinstance(vars(tm)[name], type)}
    errors = {name for name in errors if issubclass(vars(tm)[name], tm.TalkError)}

    assert set(listed) == errors
    assert len(listed) == len(errors)
