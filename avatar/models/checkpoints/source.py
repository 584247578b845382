"""Reads public weight files tensor by tensor, sharded or not, safetensors or pickles."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avatar.errors import CorruptFile, NotFound

PICKLES = (".pt", ".pth", ".bin")
FLOATS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
"""safetensors' names of what public files hold."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, not read yet."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    path: Path
    read: Callable[[], Tensor] = field(repr=False)


class Source:
    """Everything that some folders and files hold, by name; a later one replaces an earlier's.

    Used as a context: it keeps files mapped.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = places
        self.entries: dict[str, Entry] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Source":
        for place in self.places:
            for path in weight_files(place):
                self.entries.update(self._open(path))
        return self

    def __exit__(self, *_: object) -> None:
        self.entries = {}
        self._stack.close()

    def without(self, prefixes: Sequence[str]) -> dict[str, Entry]:
        """The entries; the first of `prefixes` that there is is cut off the names that have it.

        Raises:
            CorruptFile: Two names are then one.
        """
        found = (each for each in prefixes if any(name.startswith(each) for name in self.entries))
        prefix = next(found, "")
        cut = {name.removeprefix(prefix): each for name, each in self.entries.items()}
        if len(cut) < len(self.entries):
            raise CorruptFile(f"{self.places[0]} holds tensors with and without {prefix!r}")
        return cut

    def _open(self, path: Path) -> Iterator[tuple[str, Entry]]:
        if path.suffix in PICKLES:
            for name, tensor in pickled(path).items():
                yield name, Entry(tuple(tensor.shape), tensor.dtype, path, _given(tensor))
            return
        try:
            file = self._stack.enter_context(safe_open(path, "pt"))
        except SafetensorError as error:
            raise CorruptFile(f"{path} is no safetensors file: {error}") from error
        for name in file.keys():
            part = file.get_slice(name)
            kind = part.get_dtype()
            if kind not in FLOATS:
                raise CorruptFile(f"{path}: {name} is of {kind}; {', '.join(FLOATS)} are known")
            yield name, Entry(tuple(part.get_shape()), FLOATS[kind], path, _sliced(file, name))


def _given(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def _sliced(file: Any, name: str) -> Callable[[], Tensor]:
    return lambda: file.get_tensor(name)


def weight_files(place: Path) -> list[Path]:
    """The files of weights in a folder, or the file itself.

    A folder's index says which; without one all its safetensors, and without any its only pickle.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise NotFound(f"{place} is neither a file nor a folder")
    indices = sorted(place.glob("*.safetensors.index.json"))
    if len(indices) == 1:
        listed = json.loads(indices[0].read_text())["weight_map"].values()
        files = [place / name for name in sorted(set(listed))]
        if absent := [each.name for each in files if not each.is_file()]:
            raise NotFound(f"{indices[0]} lists {', '.join(absent)}, not there: download it again")
        return files
    tensors = sorted(place.glob("*.safetensors"))
    pickles = sorted(each for each in place.iterdir() if each.suffix in PICKLES)
    found = tensors or pickles
    if not found:
        raise NotFound(f"{place} holds no weights: no .safetensors, {', '.join(PICKLES)}")
    if not tensors and len(pickles) > 1:
        names = ", ".join(each.name for each in pickles)
        raise NotFound(f"{place} holds several: {names}; name the one that is meant")
    return found


def pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of torch's own format, mapped rather than read; code in it is never run.

    Raises:
        CorruptFile: It holds something other than tensors, in a dict or in one dict of a dict.
    """
    try:
        held: Any = torch.load(  # noqa: TID251  # public files; `weights_only` runs nothing
            path, map_location="cpu", weights_only=True, mmap=True
        )
    except Exception as error:  # torch raises whatever its reader does
        raise CorruptFile(f"{path} cannot be read as tensors alone: {error}") from error
    while isinstance(held, Mapping):
        inner = [each for each in held.values() if isinstance(each, Mapping)]
        if held and all(isinstance(each, Tensor) for each in held.values()):
            return {str(name): each for name, each in held.items()}
        if len(inner) != 1:
            break
        held = inner[0]
    raise CorruptFile(f"{path} holds no dict of tensors, nor one dict that does")


def config_of(places: Sequence[Path]) -> tuple[dict[str, Any], Path | None]:
    """`config.json` beside the weights, if it is there; the last place's that has one."""
    for place in reversed(places):
        path = (place if place.is_dir() else place.parent) / "config.json"
        if path.is_file():
            try:
                found = json.loads(path.read_text())
            except json.JSONDecodeError as error:
                raise CorruptFile(f"{path} is no JSON: {error}") from error
            return dict(found), path
    return {}, None
