"""What every command takes."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from talkingmachines._async_client import AsyncClient
from talkingmachines._client import Client
from talkingmachines._connection import DEFAULT_SERVER, KEY_VARIABLE, SERVER_VARIABLE
from talkingmachines._terminal import Terminal

Run = Callable[[Client, argparse.Namespace, Terminal], None]


class Commands:
    """The commands of a parser, each with the common options."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(required=True, metavar="COMMAND")
        self._common = _common()

    def add(
        self, name: str, run: Run, purpose: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        command = self._commands.add_parser(
            name, parents=[self._common, *parents], help=purpose, description=purpose
        )
        command.set_defaults(run=run)
        return command


def client_of(options: argparse.Namespace) -> Client:
    return Client(**_how(options))


def async_client_of(options: argparse.Namespace) -> AsyncClient:
    return AsyncClient(**_how(options))


def key_of(options: argparse.Namespace) -> str:
    # no option for the key itself: others on this machine can read command lines
    return options.key_file.read_text().strip() if options.key_file else ""


def _how(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "server": options.server,
        "key": key_of(options),
        "tls": options.tls,
        "deadline_s": options.deadline,
        "retry_busy_s": options.retry,
    }


def seconds(text: str) -> float:
    """Of a time that is waited for."""
    given = float(text)
    if not 0 <= given < 1e6:
        raise ValueError(text)
    return given


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("server")
    group.add_argument(
        "--server",
        default="",
        metavar="HOST:PORT",
        help=f"gRPC address (default: ${SERVER_VARIABLE}, else {DEFAULT_SERVER})",
    )
    group.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"holds the key that the server asks for (default: ${KEY_VARIABLE})",
    )
    group.add_argument("--tls", action="store_true", help="encrypt, through the server's proxy")
    for name, default, purpose in (
        ("--wait", 0.0, "wait so long for a server that is starting"),
        ("--retry", 0.0, "keep trying so long while every slot is taken"),
        ("--deadline", 300.0, "time for the whole answer"),
    ):
        text = f"{purpose} (default: {default:g})"
        group.add_argument(name, default=default, type=seconds, metavar="SECONDS", help=text)
    common.add_argument("--json", action="store_true", help="print one JSON value, also for errors")
    return common
