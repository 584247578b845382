"""The commands that make and remove avatars: create, remove."""

import argparse
import dataclasses
import json
from datetime import datetime
from pathlib import Path

from talkingmachines._avatars import Consent, Portrait, Progress
from talkingmachines._cli.options import Commands
from talkingmachines._client import Client
from talkingmachines._errors import InvalidInput
from talkingmachines._terminal import Terminal

OF_A_PORTRAIT = ("name", "display_name", "description", "persona", "agreed_by")


def add(commands: Commands) -> None:
    create = commands.add("create", _create, "make an avatar (operator's key)")
    create.add_argument("file", type=Path, help="a description (.toml), or a portrait")
    group = create.add_argument_group("of a portrait, all of them")
    for option, purpose in (
        ("--name", "id of the avatar"),
        ("--display-name", "name to show"),
        ("--description", "one sentence about it"),
        ("--persona", "who the language model is told to be"),
        ("--agreed-by", "who is shown, and agrees"),
    ):
        group.add_argument(option, default="", metavar="TEXT", help=purpose)
    group.add_argument("--agreed-to", default="", metavar="TEXT", help="what they agreed to")
    remove = commands.add("remove", _remove, "remove an avatar made here (operator's key)")
    remove.add_argument("avatar", help="its id (see `avatars`)")


def _create(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    source = options.file if options.file.suffix == ".toml" else _portrait(options)

    def show(now: Progress) -> None:
        left = f", {now.left_s:.0f} s left" if now.left_s is not None else ""
        terminal.update_share(now.share, f"{now.share:.0%}, {now.stage}{left}")

    operation = client.create_avatar(source)
    try:
        made = operation.wait(on_progress=show)
    except (KeyboardInterrupt, SystemExit):
        operation.cancel()
        raise
    terminal.end_progress()
    if options.json:
        terminal.result(json.dumps(dataclasses.asdict(made), default=datetime.isoformat))
    else:
        terminal.result(f"{made.avatar} can be called.")


def _portrait(options: argparse.Namespace) -> Portrait:
    missing = [f"--{name.replace('_', '-')}" for name in OF_A_PORTRAIT if not vars(options)[name]]
    if missing:
        raise InvalidInput(
            f"{options.file} is no .toml file, so it is a portrait: give {', '.join(missing)} too."
        )
    return Portrait(
        options.file,
        options.name,
        options.display_name,
        options.description,
        options.persona,
        Consent(options.agreed_by, options.agreed_to),
    )


def _remove(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    client.delete_avatar(options.avatar)
    terminal.result(json.dumps({"removed": options.avatar}) if options.json else "Removed.")
