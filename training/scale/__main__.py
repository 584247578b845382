"""Train the paper's model, on one device or on many.

`torchrun --nproc-per-node 8 -m -- training.scale --shards DIR --run DIR`, the same with more nodes,
or `python -m training.scale --recipe toy ...` in one process. Interrupted, it goes on from the last
checkpoint when it is started again, with any number of processes.
"""

import argparse
import logging
import math
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from avatar.backends.memory import GIB
from avatar.errors import AvatarError
from avatar.telemetry.logging import configure
from training import parallel
from training.recipes.tm_18b import RECIPES
from training.scale.plan import check_sharing, memory_of_device, plan
from training.scale.run import run_recipe

REFUSED = 2
MOST_GIB = 65_536


def arguments_of(arguments: list[str]) -> argparse.Namespace:
    """Ends the process with what is wrong with them."""
    parser = argparse.ArgumentParser(prog="python -m training.scale", description=__doc__)
    parser.add_argument("--recipe", choices=list(RECIPES), default="tm-18b")
    parser.add_argument("--shards", type=Path, help="clips, from python -m training.data.footage")
    parser.add_argument("--run", type=Path, default=Path("runs/tm-18b"))
    begin_with = parser.add_mutually_exclusive_group()
    begin_with.add_argument(
        "--base",
        type=Path,
        metavar="PATH",
        help="converted Wan2.1-I2V-14B: the folder, or its file",
    )
    begin_with.add_argument(
        "--from-scratch", action="store_true", help="begin with random weights instead"
    )
    parser.add_argument(
        "--only", default="", metavar="STAGE", help="audio, teacher, causal, student"
    )
    parser.add_argument("--no-recompute", action="store_true", help="faster, and far more memory")
    parser.add_argument(
        "--together", type=_processes, default=1, metavar="N",
        help="processes that share each batch, a part of its tokens each (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--plan", type=_processes, metavar="N",
        help="print what N processes need, and end; with --memory of their devices",
    )  # fmt: skip
    parser.add_argument("--memory", type=_gib, metavar="GIB", help="of each device, for --plan")
    given = parser.parse_args(arguments)
    names = [stage.name for stage in RECIPES[given.recipe]().stages]
    if given.only and given.only not in names:
        parser.error(f"--only {given.only}: the stages are {', '.join(names)}")
    if not given.plan and given.shards is None:
        parser.error("--shards is needed: the folder that python -m training.data.footage wrote")
    return given


def main(arguments: list[str]) -> int:
    """Exit code: REFUSED where all processes refuse to begin, 1 where this one cannot go on."""
    given = arguments_of(arguments)
    configure(logging.INFO, sys.stderr)
    # keys and values are views, and nobody writes into them
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    warnings.filterwarnings("ignore", "DTensor random operators", UserWarning)
    recipe = RECIPES[given.recipe]()
    if given.plan:
        try:
            check_sharing(recipe, given.plan, given.together)
        except AvatarError as error:
            print(f"training.scale: {error}", file=sys.stderr)
            return REFUSED
        available = int(given.memory * GIB) if given.memory else memory_of_device()
        for stage in recipe.stages:
            needed = plan(
                recipe, stage, given.plan, available,
                recompute=not given.no_recompute, together=given.together,
            )  # fmt: skip
            print(f"{stage.name}: {needed}")
        return 0
    begin()
    try:
        run_recipe(
            recipe, given.shards, given.run, base=given.base, from_scratch=given.from_scratch,
            only=given.only, recompute=not given.no_recompute, together=given.together,
        )  # fmt: skip
    except parallel.Refused as error:
        if parallel.rank() == 0:
            print(f"training.scale: {error}", file=sys.stderr)
        return REFUSED
    except AvatarError as error:
        print(f"training.scale, process {parallel.rank()}: {error}", file=sys.stderr)
        return 1
    finally:
        parallel.leave()
    return 0


def begin() -> None:
    """Meet the other processes; alone, a group of one, so that both run the same code."""
    if torch.cuda.is_available():
        torch.cuda.set_device(dist.get_node_local_rank(fallback_rank=0))
    parallel.join()
    parallel.alone()


def _processes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r}: 1 to 4096 processes expected")
    return int(text)


def _gib(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size <= MOST_GIB:
        raise argparse.ArgumentTypeError(f"{text!r}: more than 0, up to {MOST_GIB} GiB expected")
    return size


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
