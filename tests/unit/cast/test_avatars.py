"""Avatars of a user's own are found, and one that is not whole harms nobody else."""

from pathlib import Path

import pytest

from avatar.cast.avatars import (
    APPEARANCE,
    DESCRIPTION,
    MANIFEST,
    character_of,
    damaged,
    everyone,
    own_file,
)
from avatar.cast.characters import CAST
from avatar.errors import CorruptFile, NotFound
from tests.fakes.avatars import write_own

pytestmark = pytest.mark.unit


def test_own_avatars_come_after_the_shipped_cast(tmp_path: Path) -> None:
    for name in ("nova", "ada"):
        write_own(tmp_path, name)
    assert [each.id for each in everyone(tmp_path)] == [*(c.id for c in CAST), "ada", "nova"]
    assert character_of("nova", tmp_path).temperament.sway == 0.2
    assert damaged(tmp_path) == []


def test_without_a_folder_there_is_the_shipped_cast(tmp_path: Path) -> None:
    assert everyone(tmp_path / "nowhere") == CAST
    with pytest.raises(NotFound, match=r"'nova'; there are mira"):
        character_of("nova", tmp_path / "nowhere")


@pytest.mark.parametrize("file", [APPEARANCE, DESCRIPTION, "portrait.png"])
def test_a_damaged_avatar_is_left_out_and_its_file_and_the_fix_are_named(
    file: str, tmp_path: Path
) -> None:
    write_own(tmp_path, "ada")
    path = write_own(tmp_path, "nova") / file
    path.write_bytes(path.read_bytes() + b"x")
    assert everyone(tmp_path)[-1].id == "ada"
    (problem,) = damaged(tmp_path)
    assert str(path) in problem
    assert "make train-character NAME=nova" in problem
    with pytest.raises(CorruptFile, match="is damaged"):
        character_of("nova", tmp_path)


@pytest.mark.parametrize("file", [APPEARANCE, DESCRIPTION, "portrait.png", MANIFEST])
def test_a_half_written_avatar_is_left_out(file: str, tmp_path: Path) -> None:
    path = write_own(tmp_path, "nova") / file
    path.unlink()
    assert everyone(tmp_path) == CAST
    assert str(path) in damaged(tmp_path)[0]


def test_a_manifest_of_anything_is_refused(tmp_path: Path) -> None:
    (write_own(tmp_path, "nova") / MANIFEST).write_text("[]")
    with pytest.raises(CorruptFile, match="does not list"):
        own_file(tmp_path, "nova", APPEARANCE)


def test_nothing_outside_the_folder_is_an_avatar(tmp_path: Path) -> None:
    write_own(tmp_path, "nova")
    write_own(tmp_path / "inside", ".hidden")
    (tmp_path / "inside" / "file").write_text("")
    for name in ("../nova", ".hidden", "file", "", "NOVA"):
        with pytest.raises(NotFound):
            character_of(name, tmp_path / "inside")
    assert everyone(tmp_path / "inside") == CAST


def test_the_shipped_cast_keeps_its_names(tmp_path: Path) -> None:
    write_own(tmp_path, CAST[0].id)
    assert everyone(tmp_path) == CAST
    assert character_of(CAST[0].id, tmp_path) == CAST[0]


def test_a_folder_must_hold_who_it_is_named_after(tmp_path: Path) -> None:
    write_own(tmp_path, "nova").rename(tmp_path / "nova2")
    with pytest.raises(CorruptFile, match="'nova', not 'nova2'"):
        character_of("nova2", tmp_path)
