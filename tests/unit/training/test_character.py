"""Making one's own avatar: told in advance, resumed, measured, put where it is found."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.cast.avatars import install, write_manifest
from avatar.errors import InvalidInput
from tests.unit.training.test_clips import Vowels
from training.character.description import Description, read_description
from training.character.measure import Figures
from training.character.progress import Progress, span
from training.character.run import Plan, Run
from training.character.template import template
from training.data.speech import SpeechEngine

pytestmark = pytest.mark.unit

TINY = Plan(clips=1, seconds=0.96, steps=3, sentences=("hibari-0",))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Description:
    path = tmp_path_factory.mktemp("described") / "tin.toml"
    path.write_text(template("tin", "robot", 3))  # drawn fastest
    return read_description(path)


def engines() -> Sequence[SpeechEngine]:
    return [Vowels()]


def test_another_look_begins_anew_and_another_persona_does_not(
    described: Description, tmp_path: Path
) -> None:
    def begin(what: Description) -> str:
        out = io.StringIO()
        Run(what, tmp_path / "run", Progress(out), engines, TINY, tmp_path)
        return out.getvalue()

    assert begin(described) == ""
    renamed = replace(described, character=replace(described.character, persona="Somebody else."))
    assert begin(renamed) == ""
    reseeded = replace(described, character=replace(described.character, seed=99))
    assert "beginning anew" in begin(reseeded)


def test_a_folder_of_something_else_is_left_alone(described: Description, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidInput, match="no run of this command"):
        Run(described, tmp_path, Progress(io.StringIO()), engines, TINY)
    assert (tmp_path / "thesis.txt").exists()


def test_an_avatar_is_replaced_as_a_whole(tmp_path: Path) -> None:
    made = tmp_path / "made" / "nova"
    made.mkdir(parents=True)
    place = tmp_path / "avatars" / "nova"
    for content in ("one", "two"):
        (made / "portrait.png").write_text(content)
        (made / content).write_text("")
        write_manifest(made)
        assert install(made, tmp_path / "avatars") == place
        (made / content).unlink()
        assert (place / "portrait.png").read_text() == content
        assert sorted(each.name for each in place.parent.iterdir()) == ["nova"]
    assert not (place / "one").exists()


def test_what_is_left_is_told_as_work_is_done() -> None:
    now = [0.0]
    out = io.StringIO()
    progress = Progress(out, clock=lambda: now[0])
    progress.costs, progress.left = {"clip": 10.0, "step": 0.5}, {"clip": 2, "step": 100}
    assert progress.left_s == 70
    now[0] = 9.0
    progress.did("clip", "clips drawn", 2)
    assert "clips drawn: 1 of 2; about 1 min 00 s left" in out.getvalue()
    progress.did("clip", "clips drawn", 2)
    assert "clips drawn: 2 of 2; about 50 s left" in out.getvalue()
    assert (span(59.4), span(61)) == ("59 s", "1 min 01 s")


def test_less_lip_sync_or_wrong_sharpness_is_further_away() -> None:
    good = Figures(0.9, 0, 0.8, 0.8, 1.0, 0.0, eyes=1.0, mouth=1.0, mouth_fast=1.0)
    blurred = Figures(0.9, 0, 0.8, 0.8, 1.0, 0.0, eyes=0.9, mouth=1.0, mouth_fast=1.0)
    sharpened = Figures(0.9, 0, 0.8, 0.8, 1.0, 0.0, eyes=1.2, mouth=1.0, mouth_fast=1.0)
    assert good.distance < blurred.distance < sharpened.distance


def test_a_run_can_be_followed_by_a_program() -> None:
    out, now = io.StringIO(), [0.0]
    progress = Progress(out, clock=lambda: now[0], as_json=True)
    progress.tell("portrait: p.png")
    now[0] = 10.0
    progress.costs, progress.left = {"clip": 10.0}, {"clip": 4}
    progress.did("clip", "clips drawn", 4)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"line": "portrait: p.png", "done": None, "left_s": None},
        {"line": "clips drawn: 1 of 4", "done": 0.25, "left_s": 30.0},
    ]
