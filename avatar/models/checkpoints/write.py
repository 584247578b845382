"""Writes a safetensors file tensor by tensor, so that no more than one is in memory."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar.errors import Unavailable

CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A tensor that is to be written: `read` gives it when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def num_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_safetensors(path: Path, slots: Sequence[Slot], metadata: dict[str, str]) -> str:
    """Write `slots` to `path`, whole or not at all.

    The format: the header's length in 8 bytes, the header (JSON: for each tensor its type, shape
    and place), the numbers.

    Returns:
        The file's sha256.

    Raises:
        Unavailable: The disk has too little space left.
    """
    header = json.dumps(_header(slots, metadata), separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    needed = 8 + len(header) + sum(slot.num_bytes for slot in slots)
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise Unavailable(
            f"{path.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed: "
            "make room, or name another --dst"
        )
    digest = hashlib.sha256()
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            for block in (len(header).to_bytes(8, "little"), header):
                file.write(block)
                digest.update(block)
            for slot in slots:
                block = _bytes_of(slot)
                file.write(block)
                digest.update(block)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()


def _header(slots: Sequence[Slot], metadata: dict[str, str]) -> dict[str, object]:
    header: dict[str, object] = {"__metadata__": metadata}
    start = 0
    for slot in slots:
        end = start + slot.num_bytes
        place = [start, end]
        header[slot.name] = {
            "dtype": CODES[slot.dtype],
            "shape": slot.shape,
            "data_offsets": place,
        }
        start = end
    return header


def _bytes_of(slot: Slot) -> bytes:
    tensor = slot.read().to(slot.dtype)
    assert tuple(tensor.shape) == slot.shape, slot.name
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
