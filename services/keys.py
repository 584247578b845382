"""`python -m services.keys`: make, list and take back the keys that a server asks for."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from avatar.errors import AvatarError, InvalidInput
from services.gateway.keyring import Entry, check_name, digest_of, new_key, read_keys
from services.settings import Environment

DEFAULT_FILE = Path("keys.toml")


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        path: Path = options.file or Path(Environment.read().key_file or DEFAULT_FILE)
        options.run(path, options)
    except AvatarError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\n")
        return 2
    return 0


def _add(path: Path, options: argparse.Namespace) -> None:
    check_name(options.name)
    keys = read_keys(path) if path.exists() else {}
    if options.name in keys:
        raise InvalidInput(f"there is a key {options.name!r} in {path} already; remove it first")
    key = new_key()
    try:
        keys[options.name] = Entry(
            sha256=digest_of(key),
            sessions=options.sessions,
            minutes_a_day=options.minutes,
            opens_a_minute=options.opens,
            operator=options.operator,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(f"{first['loc'][0]}: {first['msg']}") from error
    _write(path, keys)
    sys.stdout.write(f"{key}\n")
    sys.stderr.write(f"This is shown once: {path} has its digest only.\n")
    sys.stderr.write(f"The server takes it with API_KEYS_FILE={path.resolve()}\n")


def _list(path: Path, options: argparse.Namespace) -> None:
    for name, entry in read_keys(path).items():
        minutes = f"{entry.minutes_a_day:g} minutes a day" if entry.minutes_a_day else "any time"
        who = ", operator" if entry.operator else ""
        sys.stdout.write(
            f"{name}: {entry.sessions} sessions, {minutes}, {entry.opens_a_minute} openings a "
            f"minute{who}\n"
        )


def _remove(path: Path, options: argparse.Namespace) -> None:
    keys = read_keys(path)
    if keys.pop(options.name, None) is None:
        raise InvalidInput(f"there is no key {options.name!r} in {path}")
    _write(path, keys)
    sys.stderr.write(f"{options.name} is refused within seconds; its calls go on to their end.\n")


def _write(path: Path, keys: dict[str, Entry]) -> None:
    """Whole or not at all, and for its owner alone."""
    lines = []
    for name, entry in keys.items():
        lines.append(f"[{name}]")
        # JSON's strings, numbers and booleans are TOML's too
        lines += [f"{field} = {json.dumps(value)}" for field, value in entry.model_dump().items()]
        lines.append("")
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines))
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--file", type=Path, help=f"default: $API_KEYS_FILE, else {DEFAULT_FILE}")
    parser = argparse.ArgumentParser(prog="python -m services.keys", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("add", parents=[common], help="make a key and print it, once")
    add.add_argument("name", help="small letters, digits and -")
    add.add_argument("--sessions", type=int, default=4, help="at once (4)")
    add.add_argument("--minutes", type=float, default=0.0, help="of a day, 0 for no limit (0)")
    add.add_argument("--opens", type=int, default=60, help="sessions opened within a minute (60)")
    add.add_argument("--operator", action="store_true", help="may see everybody's sessions")
    add.set_defaults(run=_add)
    listing = commands.add_parser("list", parents=[common], help="names and limits")
    listing.set_defaults(run=_list)
    remove = commands.add_parser("remove", parents=[common], help="refuse a key from now on")
    remove.add_argument("name")
    remove.set_defaults(run=_remove)
    return parser


if __name__ == "__main__":
    sys.exit(main())
