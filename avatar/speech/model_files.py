"""Model files inside installed packages, checked before they are used."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from avatar.errors import CorruptFile, Unavailable


def packaged(package: str, path: str, sha256: str, *, install: str) -> Path:
    """Path of a file inside an installed package, which is not imported.

    Args:
        package: Import name.
        path: Of the file, relative to the package.
        sha256: What the file must hash to.
        install: What to give to pip, named in the error.

    Raises:
        Unavailable: The package or the file is not there.
        CorruptFile: The file is not the one this project was tested with.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"the package {package} is missing: pip install {install}")
    file = Path(spec.submodule_search_locations[0], path)
    if not file.is_file():
        raise Unavailable(f"{file} is missing: pip install --force-reinstall {install}")
    check_sha256(file, sha256, fix=f"pip install --force-reinstall {install}")
    return file


def check_sha256(file: Path, sha256: str, *, fix: str) -> None:
    """Raise CorruptFile unless the file hashes to `sha256`; `fix` says how to get it right."""
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise CorruptFile(f"{file} has sha256 {found}, {sha256} expected: {fix}")
