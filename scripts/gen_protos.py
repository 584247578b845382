"""Generates the Python stubs of protos/ into sdk/talkingmachines_api; `--check` only compares."""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]  # ships no stubs

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
SDK = ROOT / "sdk"
PACKAGE = "talkingmachines_api"

PLAIN_FILES = {
    f"{PACKAGE}/__init__.py": '"""Generated protobuf and gRPC stubs; source in protos/."""\n',
    f"{PACKAGE}/standard/__init__.py": '"""Messages of others, under names of our own."""\n',
    f"{PACKAGE}/standard/v1/__init__.py": '"""Version 1 of them."""\n',
    f"{PACKAGE}/v1/__init__.py": '"""Version 1 of the wire."""\n',
    f"{PACKAGE}/py.typed": "",
}


def generate(target: Path) -> dict[str, str]:
    """Writes the stubs below `target`; returns every file of the package by its path there."""
    # Plugins by path: from a .venv that is not activated, protoc does not find them by name.
    scripts = Path(sys.executable).parent
    arguments = [
        "protoc",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--proto_path={PROTOS}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out={target}",
        f"--mypy_grpc_out={target}",
        *sorted(str(path) for path in PROTOS.rglob("*.proto")),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused protos/; its message is above")
    for name, text in PLAIN_FILES.items():
        (target / name).write_text(text)
    return package_files(target)


def package_files(target: Path) -> dict[str, str]:
    found = (target / PACKAGE).rglob("*")
    return {
        str(path.relative_to(target)): path.read_text()
        for path in sorted(found)
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the committed stubs differ")
    if not parser.parse_args().check:
        SDK.mkdir(exist_ok=True)
        print(f"{len(generate(SDK))} files written to {SDK / PACKAGE}")
        return
    with tempfile.TemporaryDirectory() as directory:
        fresh = generate(Path(directory))
    committed = package_files(SDK)
    stale = sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))
    if stale:
        raise SystemExit(f"stale: {', '.join(stale)}\nrun scripts/gen_protos.py and commit sdk/")


if __name__ == "__main__":
    main()
