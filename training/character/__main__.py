"""One's own character: `python -m training.character new|check|portrait|train|fields`."""

import argparse
import fcntl
import json
import logging
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from avatar.cast.avatars import FOLDER, is_shipped
from avatar.cast.description import ID
from avatar.errors import AvatarError, InvalidInput, NotFound
from avatar.telemetry.logging import configure
from training.character.description import (
    KINDS,
    Description,
    Kind,
    field_rows,
    read_description,
)
from training.character.progress import Progress
from training.character.template import template
from training.data.speech import SpeechEngine

DESCRIPTIONS = Path("characters")
RUNS = Path("runs/characters")


def main() -> int:
    args = _parser().parse_args()
    configure(logging.WARNING, sys.stderr)
    torch.set_num_threads(1)  # small networks: more threads wait for one another
    try:
        if args.command == "new":
            return new(args.name, args.kind)
        if args.command == "fields":
            return fields()
        path = description_path(args.description)
        if args.command == "check":
            read(path)
            sys.stdout.write(f"{path} is right\n")
            return 0
        return make(path, args)
    except AvatarError as error:
        if args.json:
            about = {"reason": error.reason, "message": str(error)}
            sys.stdout.write(json.dumps({"error": about}) + "\n")
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from here\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.character", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    begin = commands.add_parser("new", help="write a description file to begin with")
    begin.add_argument("name", help="the avatar's id: a-z, 0-9 and _")
    begin.add_argument("--kind", choices=KINDS, default="human")
    parser.set_defaults(json=False)
    commands.add_parser("fields", help="every field of a look, as docs/characters.md has it")
    for name, does in (
        ("check", "say whether a description file is right"),
        ("portrait", "draw the character: seconds"),
        ("train", "make the avatar: minutes"),
    ):
        each = commands.add_parser(name, help=does)
        each.add_argument("description", help="a description file, or the name of one")
        each.add_argument("--runs", type=Path, default=RUNS, help="default: %(default)s")
        each.add_argument(
            "--avatars", type=Path, default=FOLDER, help="where avatars go; default: %(default)s"
        )
        each.add_argument("--json", action="store_true", help="a line of JSON for each step")
        if name == "train":
            each.add_argument(
                "--estimate", action="store_true", help="say how long it takes, and stop"
            )
    return parser


def new(name: str, kind: Kind) -> int:
    """Write a starting file; one that is there is never overwritten."""
    if not re.fullmatch(ID, name):
        raise InvalidInput(f"{name!r} is no name: a-z, 0-9 and _ are, a letter first, 2 to 24")
    if is_shipped(name):
        raise InvalidInput(f"{name!r} is one of the shipped cast; choose another name")
    path = DESCRIPTIONS / f"{name}.toml"
    if path.exists():
        raise InvalidInput(f"{path} is there already")
    path.parent.mkdir(exist_ok=True)
    path.write_text(template(name, kind, seed=zlib.crc32(name.encode()) % 10_000), encoding="utf-8")
    sys.stdout.write(
        f"{path}: edit it, and look at it with\n  python -m training.character portrait {path}\n"
    )
    return 0


def fields() -> int:
    sys.stdout.write("| field | usual value | allowed |\n| --- | --- | --- |\n")
    for name, usual, allowed in field_rows():
        sys.stdout.write(f"| `{name}` | {usual} | {allowed} |\n")
    return 0


def description_path(given: str) -> Path:
    """Raises NotFound, saying how to begin, where there is no such file."""
    path = Path(given) if given.endswith(".toml") else DESCRIPTIONS / f"{given}.toml"
    if not path.is_file():
        raise NotFound(
            f"{path} does not exist; begin with `python -m training.character new {path.stem}`"
        )
    return path


def make(path: Path, args: argparse.Namespace) -> int:
    described = read(path)  # before anything slow is loaded
    with alone(args.runs, described.character.id):
        return _make(described, args)


def read(path: Path) -> Description:
    """Raises InvalidInput also where the file is named otherwise than the avatar."""
    described = read_description(path)
    if described.character.id != path.stem:
        raise InvalidInput(
            f"{path}: id: {described.character.id!r} was given, but the file is called "
            f"{path.name}; they must be the same, or one avatar would replace another"
        )
    return described


@contextmanager
def alone(runs: Path, name: str) -> Iterator[None]:
    """Raises InvalidInput while another process makes the same avatar."""
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInput(
                f"{name} is being made by another process; wait for it, or end it first"
            ) from error
        yield


def _make(described: Description, args: argparse.Namespace) -> int:
    from training.character.run import Run

    progress = Progress(sys.stdout, as_json=args.json)
    folder = args.runs / described.character.id
    run = Run(described, folder, progress, load_engines, avatars=args.avatars)
    run.draw_portrait()
    if args.command == "portrait":
        return 0
    run.estimate()
    if not args.estimate:
        run.train()
        name = described.character.id
        progress.tell(f"`make run` shows it; or: python -m avatar render --avatar {name} …")
    return 0


def load_engines() -> Sequence[SpeechEngine]:
    from training.data.engines import load_engines as load

    return load(["hibari"])


if __name__ == "__main__":
    sys.exit(main())
