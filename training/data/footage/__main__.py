"""Videos in, training clips out: `python -m training.data.footage --videos DIR --out DIR`."""

import argparse
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from avatar.cast.profiles import load_profile
from avatar.errors import AvatarError
from avatar.telemetry.logging import configure, get_logger
from training.data.footage.pipeline import make_footage
from training.data.footage.settings import Settings
from training.data.footage.speakers import SEARCHED_LAG, Kind, SyncRules
from training.data.footage.video import Limits

log = get_logger("training.data.footage")
_SPEAKING: tuple[Kind, ...] = ("speaking",)
_QUIET: tuple[Kind, ...] = ("listening", "silent")
_UNSYNCED: tuple[Kind, ...] = ("off_sync", "ambiguous", "unmatched")


def main(arguments: list[str]) -> int:
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m training.data.footage", description=__doc__)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=_number(int, 1, 64), default=1, help="processes")
    parser.add_argument("--rights", default="", help="licence and consent, noted with every clip")
    parser.add_argument("--no-silence", action="store_true", help="only clips of seen speakers")
    parser.add_argument(
        "--keep-unsynced", action="store_true", help="other faces too, to learn motion from"
    )
    parser.add_argument(
        "--min-face", type=_number(float, 16, 2000), default=defaults.min_face, help="pixels"
    )
    parser.add_argument("--min-score", type=_number(float, 0, 1), default=defaults.sync.min_score)
    parser.add_argument(
        "--max-lag",
        type=_number(int, 0, SEARCHED_LAG),
        default=defaults.sync.max_lag,
        help="frames",
    )
    parser.add_argument(
        "--max-seconds", type=_number(float, 1, 86_400), default=defaults.limits.seconds
    )
    parser.add_argument(
        "--profile", default=defaults.profile, metavar="DIR",
        help="whose encoders: a folder of converted weights (default: the default avatar)",
    )  # fmt: skip
    parser.add_argument("--detector", default="", metavar="YUNET.onnx", help="for photographs")
    parser.add_argument("--mouth", choices=["net", "pixels"], default=defaults.mouth)
    args = parser.parse_args(arguments)
    configure(logging.INFO, sys.stderr)
    torch.set_num_threads(1)
    try:
        profile = load_profile(args.profile)
    except AvatarError as error:
        log.error("failed", reason=str(error))  # noqa: TRY400  the user's mistake, not ours
        return 1
    settings = Settings(
        profile=args.profile,
        size=profile.height,
        keep=_SPEAKING
        + (() if args.no_silence else _QUIET)
        + (_UNSYNCED if args.keep_unsynced else ()),
        min_face=args.min_face,
        sync=SyncRules(args.min_score, args.max_lag),
        limits=Limits(args.max_seconds),
        detector=args.detector,
        mouth=args.mouth,
    )
    try:
        report = make_footage(args.videos, args.out, settings, args.rights, args.jobs)
    except AvatarError as error:
        log.error("failed", reason=str(error))  # noqa: TRY400  the user's mistake, not ours
        return 1
    except KeyboardInterrupt:
        log.warning("stopped", hint="the same command goes on from here")
        return 130
    log.info("done", report=str(report))
    return 0


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """An argument between two bounds, both allowed."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not between {low:g} and {high:g}")
        return value

    return read


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
