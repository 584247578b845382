"""`python -m avatar convert`: public weights into a folder that a profile can serve from."""

import argparse
import sys

import torch

from avatar.errors import InvalidInput
from avatar.models.checkpoints.convert import convert
from avatar.models.checkpoints.presets import PRESETS, preset_of


def run(args: argparse.Namespace) -> None:
    """Raises AvatarError, naming the option or the tensor."""
    if args.list:
        for preset in PRESETS.values():
            sys.stdout.write(f"{preset.name:20} {preset.licence:12} {preset.where}\n")
        return
    if not args.preset or not args.src or not args.dst:
        raise InvalidInput("--preset, --src and --dst are needed; --list names the presets")
    preset = preset_of(args.preset)
    done = convert(
        preset,
        [each.expanduser() for each in args.src],
        args.dst.expanduser(),
        accept_noncommercial=args.accept_noncommercial,
        dtype=getattr(torch, args.dtype) if args.dtype else None,
    )
    sys.stdout.write(
        f"{done.path}: {done.num_tensors} tensors, {done.num_parameters / 1e6:,.1f} million "
        f"parameters, {done.num_bytes / 1e6:,.1f} MB, from the {done.layout} layout; "
        f"licence {preset.licence}, {preset.licence_url}\n"
    )
    if done.ended_profile:
        sys.stdout.write(
            f"{done.path.parent} is no profile any more, its portraits are of other weights: "
            f"`python -m avatar profile --folder {done.path.parent}` makes it one again\n"
        )
    if done.added:
        sys.stdout.write(
            f"{len(done.added)} tensors begin anew, silent until they are trained: "
            f"{done.added[0]} and the like\n"
        )
