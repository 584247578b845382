"""A file that appears under its name only when it is whole."""

import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


class WholeFile:
    """Written beside `path` and renamed onto it by `commit`; without commit nothing is left.

    Opening it raises OSError at once where the folder is missing or may not be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise IsADirectoryError(f"{self.path} is a folder: name a file in it.")
        self._part = self.path.with_name(f".{self.path.name[:200]}.{secrets.token_hex(4)}.part")
        try:
            self._file: BinaryIO = self._part.open("xb")
        except OSError as error:  # it names the part, which nobody has asked for
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def write(self, content: bytes) -> None:
        self._file.write(content)

    def commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())  # else a crash may leave the name on an empty file
        self._file.close()
        self._part.replace(self.path)

    def close(self) -> None:
        """Throws away what has not been committed."""
        try:
            self._file.close()
        finally:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
