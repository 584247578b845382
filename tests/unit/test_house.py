"""The house is in order: versions, pins, imports and documents agree."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path
from typing import Any

import pytest

from scripts.setup import WITHOUT_DEPENDENCIES

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
OURS = {
    "avatar", "bench", "scripts", "services", "talkingmachines", "talkingmachines_api", "tests",
    "training",
}  # fmt: skip
NAMESPACE = {"google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos"}
"""Packages that share their first name with others, by what of it we use."""


def project(folder: str = "") -> dict[str, Any]:
    text = (ROOT / folder / "pyproject.toml").read_text()
    found: dict[str, Any] = tomllib.loads(text)["project"]
    return found


def name_of(requirement: str) -> str:
    """Normalised name in a requirement such as "ray[serve]>=2"."""
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def declared(*extras: str) -> set[str]:
    optional = project()["optional-dependencies"]
    return {name_of(each) for extra in extras for each in optional[extra]}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name_of(name): version for name, version in pinned}


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """Every import of other people's modules below `folder`: the file, and the distribution."""
    providers = packages_distributions()
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module in _imports(ast.parse(path.read_text())):
            first = module.split(".")[0]
            if first in OURS or first in sys.stdlib_module_names:
                continue
            where = str(path.relative_to(ROOT))
            second = ".".join(module.split(".")[:2])
            yield where, NAMESPACE.get(second) or name_of(providers.get(first, [first])[0])


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_versions_agree_with_the_changelog() -> None:
    newest = re.search(r"(?m)^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text())
    assert newest is not None
    assert newest[1] == project()["version"] == project("sdk")["version"]


def test_every_direct_dependency_is_pinned() -> None:
    direct = declared("run", "train", "dev") | set(WITHOUT_DEPENDENCIES)
    direct |= {name_of(each) for each in project("sdk")["dependencies"]}
    assert direct <= pins().keys()


def test_pins_are_plain_public_versions() -> None:
    for name, version in pins().items():
        assert re.fullmatch(r"[0-9][0-9a-zA-Z.]*", version), f"{name}=={version}"


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {name_of(each.name): each.version.split("+")[0] for each in distributions()}
    other = {
        name: installed[name]
        for name in pins().keys() & installed
        if installed[name] != pins()[name]
    }
    assert other == {}


def test_every_direct_dependency_is_justified_and_no_other() -> None:
    listed = re.findall(r"(?m)^\| `([^`]+)` \|", (ROOT / "docs" / "dependencies.md").read_text())
    assert len(listed) == len(set(listed))
    assert set(listed) == declared("run", "train", "dev") | set(WITHOUT_DEPENDENCIES)


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("avatar", ("run",)),
        ("services", ("run",)),
        ("training", ("run", "train")),
        ("bench", ("run", "train", "dev")),
        ("tests", ("run", "train", "dev")),
        ("scripts", ("run", "train", "dev")),
    ],
)
def test_what_is_imported_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    allowed = declared(*extras) | set(WITHOUT_DEPENDENCIES)
    undeclared = {(where, name) for where, name in imported(folder) if name not in allowed}
    assert undeclared == set()


def test_the_sdk_imports_only_what_it_declares() -> None:
    allowed = {name_of(each) for each in project("sdk")["dependencies"]}
    undeclared = {(where, name) for where, name in imported("sdk") if name not in allowed}
    assert undeclared == set()


def test_the_run_extra_stays_small() -> None:
    assert not declared("run") & (declared("train") | declared("dev"))
    heavy = {"numba", "nncf", "pytest", "torchvision", "torchaudio", "opencv-python"}
    assert not declared("run") & heavy


def test_both_distributions_carry_the_same_licence() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert (ROOT / "sdk" / "LICENSE").read_text() == licence
    assert project()["license"] == project("sdk")["license"] == "Apache-2.0"


def test_make_lists_every_target_a_newcomer_needs() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = re.sub(r"\x1b\[\d+m", "", listed)
    for target in ("setup", "run", "demo", "test", "test-fast", "check", "train", "bench"):
        assert re.search(rf"(?m)^  {target} +\w+", listed), target


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert re.search(r"(?m)^make test", script.read_text())


@pytest.mark.parametrize(
    "document",
    [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))],
    ids=lambda p: p.name,
)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", document.read_text())
    local = [target for target in targets if "://" not in target]
    broken = [target for target in local if not (document.parent / target).exists()]
    assert broken == []
