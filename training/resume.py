"""A run's checkpoint small enough to be kept in the repository, and back.

`python -m training.resume pack runs/tiny/teacher training/state/teacher.safetensors`, and `unpack`
with the two exchanged. Only the average of the weights is kept, at half precision, an eighth of
the bytes: the run goes on from it, and the optimizer's moments fill again.
"""

import argparse
from pathlib import Path

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
    kept = {key: value for key, value in tensors.items() if key.startswith("ema.")}
    return {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in kept.items()
    }


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `load_checkpoint` reads: the average is also the weights."""
    average = {
        key: value.float() if value.is_floating_point() else value for key, value in tensors.items()
    }
    return average | {f"model.{key[4:]}": value.clone() for key, value in average.items()}


if __name__ == "__main__":
    main()
