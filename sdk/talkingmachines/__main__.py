"""The command `talkingmachines`: a talking face from the command line."""

import argparse
import importlib.metadata
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from talkingmachines._cli import answers, bench, doctor, making, operators, talk
from talkingmachines._cli.options import Commands, client_of
from talkingmachines._errors import (
    Busy,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotOffered,
    PermissionDenied,
    TalkError,
    Unauthenticated,
    Unavailable,
)
from talkingmachines._terminal import Terminal

EXIT_CODES = """\
exit codes:
  0    done
  1    the server failed
  2    refused: usage, text, audio, name of the avatar, a file that cannot be read or written,
       a package that is missing, something that this server does not do
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
        with _sigterm_as_exit(), client_of(options) as client:
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
    except ImportError as error:
        _report(terminal, options, "EXTRA", str(error), None)
        return 2
    except OSError as error:
        name = f": {error.filename}" if error.filename else ""
        _report(terminal, options, "FILE", f"{error.strerror or error}{name}", None)
        return 2
    return 0


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


def _exit_code(error: TalkError) -> int:
    match error:
        case InvalidInput() | NotFound() | NotOffered():
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
    parser = argparse.ArgumentParser(
        prog="talkingmachines",
        description="Text or speech in, a talking face out.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("talkingmachines")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    commands = Commands(parser)
    for module in (answers, talk, making, operators, doctor, bench):
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
