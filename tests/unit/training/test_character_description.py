"""Description files: what is wrong is named, and what may be."""

import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.errors import InvalidInput, NotFound
from training.character.description import (
    KINDS,
    Kind,
    allowed,
    check_ranges,
    field_rows,
    read_description,
)
from training.character.template import template
from training.data.looks import LOOKS

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
NOVA = (ROOT / "characters" / "nova.toml").read_text()


def read(text: str, tmp_path: Path) -> str:
    """What is said about a description file with this text."""
    path = tmp_path / "nova.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        read_description(path)
    return str(refused.value)


def test_the_example_is_right() -> None:
    described = read_description(ROOT / "characters" / "nova.toml")
    assert (described.character.id, described.kind) == ("nova", "human")
    assert described.look.clothes.kind == "jacket"
    assert described.look.seed == described.character.seed


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_to_begin_with_is_right_and_of_its_kind(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "new_one.toml"
    path.write_text(template("new_one", kind, 7))
    described = read_description(path)
    assert (described.character.id, described.character.display_name) == ("new_one", "New One")
    assert described.kind == kind
    assert (described.look.fur is not None) == (kind == "fox")
    assert (described.look.robot is not None) == (kind == "robot")


@pytest.mark.parametrize(
    ("old", "new", "field", "hint"),
    [
        ("speed = 0.98", "speed = 3", "voice.speed", "less than or equal to 1.4"),
        ("sway = 0.32", "swey = 0.32", "temperament.swey", "did you mean sway?"),
        ("id =", "name =", "name", "id, display_name"),
        ('id = "nova"', 'id = "../x"', "id", "match pattern"),
        ('id = "nova"', 'id = "otto"', "id", "choose another"),
        ('"#c9946e"', '"c9946e"', "look.skin.colour", "#rrggbb"),
        ('"lights"', '"moon"', "look.backdrop.scene", "'stars'"),
        ("count = 120", "count = -5", "look.hair.locks.count", "-5 was given"),
        ("count = 120", "count = 100000000", "look.hair.locks.count", "1e+08 was given"),
        ("wrinkles = 0.25", "wrinkles = nan", "look.skin.wrinkles", "nan was given"),
        ("count = 120", "cuont = 120", "look.hair.locks.0.cuont", "did you mean count?"),
        ("jaw = 4.6", "jaw = 9.0", "look.head.jaw", "9 was given, allowed is 4.0"),
        ('kind = "human"', 'kind = "cat"', "look.kind", "'human', 'fox', 'robot'"),
        ("[look.light]", "[look.fur]\n[look.light]", "look.fur", 'kind = "fox"'),
        ("seed = 1201", "seed = [", "nova.toml", "line 7"),
    ],
)
def test_the_wrong_field_is_named_with_what_is_allowed(
    old: str, new: str, field: str, hint: str, tmp_path: Path
) -> None:
    assert old in NOVA
    told = read(NOVA.replace(old, new, 1), tmp_path)
    assert field in told
    assert hint in told


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        read_description(tmp_path / "nobody.toml")


def test_the_whole_cast_is_within_what_is_allowed() -> None:
    for name, look in LOOKS.items():
        check_ranges(look, Path(name))
    assert allowed("look.head.jaw") == (4.076, 5.724)


def test_what_gives_the_face_no_form_may_be_much_or_nothing() -> None:
    assert allowed("look.hair.locks.steps") == (2, 88)
    assert allowed("look.beard.moustache") == (0, 520)
    assert allowed("look.skin.freckles") == (0, 240)
    assert allowed("look.ears") == (0, 4)
    assert allowed("look.seed") is None


def test_the_document_has_every_field_as_the_code_has_it() -> None:
    text = (ROOT / "docs" / "characters.md").read_text()
    rows = [f"| `{name}` | {usual} | {allows} |" for name, usual, allows in field_rows()]
    missing = [row for row in rows if row not in text]
    assert missing == [], "python -m training.character fields prints them"
    listed = re.findall(r"(?m)^\| `([a-z0-9_.]+)` \|", text)
    assert len(listed) == len(rows)


def make(*arguments: str) -> str:
    """What make would do, or what it says."""
    command = ["make", "-n", "-C", str(ROOT), "train-character", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("NAME=nova",), ("nova",)])
def test_make_trains_whom_it_is_told(arguments: tuple[str, ...]) -> None:
    told = make(*arguments, "AVATARS_DIR=/tmp/avatars")
    assert "-m training.character train nova --avatars /tmp/avatars" in told


def test_make_asks_whom_to_train() -> None:
    told = make()
    assert "make train-character NAME=nova" in told
    assert "setup.py" not in told
