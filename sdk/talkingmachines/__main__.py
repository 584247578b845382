"""The command `talkingmachines`: a talking face from the command line."""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from talkingmachines._answer import Answer
from talkingmachines._client import Client
from talkingmachines._connection import DEFAULT_SERVER, KEY_VARIABLE, SERVER_VARIABLE
from talkingmachines._errors import (
    Busy,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TalkError,
    Unauthenticated,
    Unavailable,
)
from talkingmachines._events import ChunkReady, Event, ReplySentence, SavedAnswer, Transcript
from talkingmachines._input import MAX_AUDIO_BYTES, MAX_TEXT_CHARACTERS
from talkingmachines._terminal import Terminal

EXIT_CODES = """\
exit codes:
  0    done
  1    the server failed
  2    refused: usage, text, audio, name of the avatar, a file that cannot be read or written
  3    no server answers, it is not ready, or the connection was lost
  4    every slot of the server is taken, or the key has used up its quota
  5    not done within --deadline
  6    the server wants a key, or another one
  130  Ctrl-C (143: SIGTERM); the call is cancelled and no file is left
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parser().parse_args(argv)
    terminal = Terminal(sys.stdout, sys.stderr)
    try:
        with _sigterm_as_exit(), _client(options) as client:
            if options.wait:
                client.wait_ready(options.wait)
            options.run(client, options, terminal)
    except KeyboardInterrupt:
        terminal.end_progress()
        terminal.note("Cancelled.")
        return 130
    except TalkError as error:
        _report(terminal, options, error.reason, str(error), error.retry_after_s)
        return _exit_code(error)
    except OSError as error:
        name = f": {error.filename}" if error.filename else ""
        _report(terminal, options, "FILE", f"{error.strerror or error}{name}", None)
        return 2
    return 0


def _client(options: argparse.Namespace) -> Client:
    # no option for the key itself: others on this machine can read command lines
    key = options.key_file.read_text().strip() if options.key_file else ""
    return Client(
        options.server,
        key=key,
        tls=options.tls,
        deadline_s=options.deadline,
        retry_busy_s=options.retry,
    )


def _say(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    text = sys.stdin.read(MAX_TEXT_CHARACTERS + 2).strip() if options.text == "-" else options.text
    _save(client.say(text, options.avatar), options, terminal)


def _ask(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    from_stdin = options.audio == "-"
    audio = sys.stdin.buffer.read(MAX_AUDIO_BYTES + 1) if from_stdin else options.audio
    _save(client.ask(audio, options.avatar), options, terminal)


def _save(answer: Answer, options: argparse.Namespace, terminal: Terminal) -> None:
    saved = answer.save(options.out, on_event=_shower(terminal, quiet=options.json))
    terminal.end_progress()
    if options.json:
        terminal.result(json.dumps(_as_dict(saved)))
        return
    figures = saved.summary
    terminal.result(
        f"{saved.path}: {figures.frame_count} frames at {figures.frame_rate:g} fps,"
        f" {figures.audio_s:.2f} s of sound; first chunk after {figures.first_chunk_s:.2f} s,"
        f" all after {figures.total_s:.2f} s"
    )
    for line in figures.models:
        terminal.note(line)


def _shower(terminal: Terminal, *, quiet: bool) -> Callable[[Event], None]:
    """Shows progress, and the words too unless `quiet`."""

    def show(event: Event) -> None:
        match event:
            case Transcript(text) if not quiet:
                terminal.result(f"heard: {text}")
            case ReplySentence(text) if not quiet:
                terminal.result(f"says:  {text}")
            case ChunkReady():
                terminal.update(event)
            case _:
                pass

    return show


def _avatars(client: Client, options: argparse.Namespace, terminal: Terminal) -> None:
    avatars = client.avatars()
    if options.json:
        terminal.result(json.dumps([dataclasses.asdict(avatar) for avatar in avatars]))
        return
    width = max((len(avatar.id) for avatar in avatars), default=0)
    for avatar in avatars:
        terminal.result(f"{avatar.id:<{width}}  {avatar.display_name}: {avatar.description}")


def _report(
    terminal: Terminal,
    options: argparse.Namespace,
    reason: str,
    message: str,
    retry_after_s: float | None,
) -> None:
    terminal.end_progress()
    if options.json:
        error = {"reason": reason, "message": message, "retry_after_s": retry_after_s}
        terminal.result(json.dumps({"error": error}))
    terminal.note(f"talkingmachines: {message}")


def _as_dict(saved: SavedAnswer) -> dict[str, object]:
    return {**dataclasses.asdict(saved), "path": os.fspath(saved.path)}


def _exit_code(error: TalkError) -> int:
    match error:
        case InvalidInput() | NotFound():
            return 2
        case Unavailable():
            return 3
        case Busy():
            return 4
        case DeadlineExceeded():
            return 5
        case Unauthenticated() | PermissionDenied():
            return 6
        case _:
            return 1


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, so that the call is cancelled and no half file stays."""

    def leave(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parser() -> argparse.ArgumentParser:
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
        group.add_argument(name, default=default, type=_seconds, metavar="SECONDS", help=text)
    common.add_argument("--json", action="store_true", help="print one JSON value, also for errors")

    video = argparse.ArgumentParser(add_help=False)
    video.add_argument("--avatar", default="", metavar="ID", help="who speaks (see `avatars`)")
    video.add_argument("--out", required=True, type=Path, metavar="FILE", help="MP4 file to write")

    parser = argparse.ArgumentParser(
        prog="talkingmachines",
        description="Text or speech in, a talking face out.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("talkingmachines")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    say = commands.add_parser("say", parents=[common, video], help="an avatar says a text")
    say.add_argument("text", help="what to say, at most 2000 characters; - reads it from stdin")
    say.set_defaults(run=_say)
    ask = commands.add_parser("ask", parents=[common, video], help="an avatar answers a question")
    ask.add_argument("audio", help="audio file with a spoken question; - reads it from stdin")
    ask.set_defaults(run=_ask)
    avatars = commands.add_parser("avatars", parents=[common], help="list the characters")
    avatars.set_defaults(run=_avatars)
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise ValueError(text)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
