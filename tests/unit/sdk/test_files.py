"""Files that appear whole or not at all."""

from pathlib import Path

import pytest

from talkingmachines._files import WholeFile

pytestmark = pytest.mark.unit


def test_a_file_has_no_name_before_it_is_committed(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "a.mp4") as file:
        file.write(b"one ")
        file.write(b"two")
        assert not (tmp_path / "a.mp4").exists()
        file.commit()

    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.mp4", b"one two")]


def test_without_a_commit_nothing_is_left(tmp_path: Path) -> None:
    with WholeFile(tmp_path / "a.mp4") as file:
        file.write(b"one")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        _write_to_full_disk(tmp_path / "a.mp4")

    assert list(tmp_path.iterdir()) == []


def _write_to_full_disk(path: Path) -> None:
    with WholeFile(path) as file:
        file._file.close()
        file._file = Path("/dev/full").open("wb")
        file.write(b"x")  # into the buffer; the disk refuses it later
        file.commit()


def test_a_file_already_there_is_replaced_only_by_the_commit(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with WholeFile(tmp_path / "a.mp4") as file:
        file.write(b"new")
        assert (tmp_path / "a.mp4").read_bytes() == b"old"
        file.commit()

    assert (tmp_path / "a.mp4").read_bytes() == b"new"


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        WholeFile(tmp_path)


def test_a_missing_folder_is_noticed_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WholeFile(tmp_path / "missing" / "a.mp4")


def test_the_longest_name_a_disk_takes_is_no_trouble(tmp_path: Path) -> None:
    with WholeFile(tmp_path / ("a" * 251 + ".mp4")) as file:
        file.commit()

    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_a_folder_that_is_not_there_is_named_by_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/a\.mp4") as caught:
        WholeFile(tmp_path / "nowhere" / "a.mp4")
    assert ".part" not in str(caught.value)
