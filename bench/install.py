"""How large is what has to be installed, and how long does that take?"""

import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from bench.machine import ROOT, say
from bench.options import Options
from bench.results import Values, table
from scripts.setup import WITHOUT_DEPENDENCIES

LARGEST = 8


def measure(options: Options) -> Values:
    values = sizes(options.venv)
    if options.install:
        values["fresh"] = install_anew()
    return values


def sizes(venv: Path) -> Values:
    """Packages and megabytes of an environment, and of what `make run` needs of it."""
    (site,) = venv.glob("lib/python*/site-packages")
    installed = {canonicalize_name(each.name): each for each in distributions(path=[str(site)])}
    needed = closure(wanted(), installed)
    megabytes = {name: size_of(installed[name]) / 1e6 for name in needed}
    largest = sorted(megabytes, key=lambda name: -megabytes[name])[:LARGEST]
    return {
        "run": {"packages": len(needed), "megabytes": sum(megabytes.values())},
        "venv": {"packages": len(installed), "megabytes": size_of_folder(venv) / 1e6},
        "largest": {name: megabytes[name] for name in largest},
    }


def wanted() -> list[Requirement]:
    """What scripts/setup.py asks pip for, for `make run`."""
    server, sdk = (
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for folder in ("", "sdk")
    )
    names = [*server["optional-dependencies"]["run"], *sdk["dependencies"], *WITHOUT_DEPENDENCIES]
    return [Requirement(name) for name in names]


def closure(
    requirements: Iterable[Requirement], installed: dict[NormalizedName, Distribution]
) -> set[NormalizedName]:
    """Names of all packages that these need, directly or not, as far as they are installed."""
    found: set[tuple[NormalizedName, str]] = set()
    waiting = list(requirements)
    alone = {canonicalize_name(name) for name in WITHOUT_DEPENDENCIES}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in installed:
            continue
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            if name not in alone:
                waiting += applicable(installed[name].requires or [], extra)
    return {name for name, _ in found}


def applicable(lines: Iterable[str], extra: str) -> list[Requirement]:
    """Those that hold on this machine, for an extra of the package or for none."""
    requirements = [Requirement(line) for line in lines]
    return [
        each
        for each in requirements
        if each.marker is None or each.marker.evaluate({"extra": extra})
    ]


def size_of(package: Distribution) -> int:
    """Bytes of the files that it brought."""
    paths = {Path(str(file.locate())) for file in package.files or []}
    return sum(path.stat().st_size for path in paths if path.is_file())


def size_of_folder(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(each.lstat().st_size for each in folder.rglob("*") if not each.is_dir())


def install_anew() -> Values:
    """Seconds of the set-up in a fresh clone, and the size of what it makes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        say("install: for make run")
        run_s = timed(["make", "ready-run"], clone)
        run_sizes = sizes(clone / ".venv")
        say("install: for make test")
        setup_s = timed(["make", "setup"], clone)
        return {
            "run_s": run_s,
            "setup_s": setup_s,
            "run": run_sizes["venv"],
            "setup": sizes(clone / ".venv")["venv"],
        }


def timed(command: list[str], folder: Path) -> float:
    started = time.monotonic()
    # the clone makes an environment of its own, wherever make was told to look for one
    subprocess.run([*command, "VENV=.venv"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def report(values: Values) -> str:
    rows: list[tuple[object, ...]] = [
        ("needed by `make run`, as installed here", values["run"]),
        ("the environment here, with what it has besides", values["venv"]),
    ]
    if fresh := values.get("fresh"):
        rows += [
            (f"a fresh clone's `.venv` for `make run`, {fresh['run_s']:.0f} s", fresh["run"]),
            (f"and after `make setup`, {fresh['setup_s']:.0f} s more", fresh["setup"]),
        ]
    told = [(name, each["packages"], f"{each['megabytes']:.0f}") for name, each in rows]  # type: ignore[index]
    largest = ", ".join(f"{name} {size:.0f}" for name, size in values["largest"].items())
    words = f"The largest packages of `make run`, in MB: {largest}."
    if not fresh:
        words += " The time of a fresh set-up: `python -m bench --only install --install`."
    return "\n".join([table(["", "packages", "MB"], told), words])
