"""A run's checkpoint small enough to be kept in the repository, and back.

`python -m training.resume pack runs/tiny/teacher training/state/teacher.safetensors`, and `unpack`
with the two exchanged. Weights stay exact; their average keeps 11 bits, the optimizer's second
moments 8, and its first moments, which fill again in ten steps, are left out.
"""

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["pack", "unpack"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    convert, source, target = packed, args.source, args.target
    if args.way == "pack":
        source = source / "checkpoint.safetensors"
    else:
        convert, target = unpacked, target / "checkpoint.safetensors"
    with safe_open(source, "pt") as file:
        tensors = convert({key: file.get_tensor(key) for key in file.keys()})
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, target, metadata=file.metadata())


def packed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of `save_checkpoint`'s tensors."""
    kept = {key: value for key, value in tensors.items() if not key.startswith("m.")}
    kinds = {"ema": torch.float16, "v": torch.bfloat16}
    return {
        key: value.to(kinds.get(key.split(".")[0], value.dtype)).contiguous()
        for key, value in kept.items()
    }


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `load_checkpoint` reads; first moments are zero."""
    whole = {
        key: value.float()
        if key.startswith(("ema.", "v.")) and value.is_floating_point()
        else value
        for key, value in tensors.items()
    }
    moments = {f"m.{key[2:]}": torch.zeros_like(v) for key, v in whole.items() if key[:2] == "v."}
    return (whole | moments) if moments else whole


if __name__ == "__main__":
    main()
