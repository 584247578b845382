"""Lets an avatar say a sentence and answer a spoken question, and draws what came out.

Writes demo/say.mp4, demo/ask.mp4 and demo/contact.png with the commands that anybody would use.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.contact_sheet import write_sheet
from talkingmachines import Client, TalkError, Unavailable
from talkingmachines.__main__ import main as talkingmachines

ROOT = Path(__file__).resolve().parent.parent
QUESTION = ROOT / "tests/data/questions/tell_me_about_the_sea.flac"
START_S = 360.0
STOP_S = 30.0
GRAPH = (sys.executable, "-m", "services.run")


def main(argv: Sequence[str] | None = None, graph: Sequence[str] = GRAPH) -> int:
    """Runs the demo; `graph` is the command that starts a server."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--server", default="", help="host:port (default: as talkingmachines)")
    parser.add_argument("--start", action="store_true", help="start a server if none runs")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="default: demo")
    options = parser.parse_args(argv)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        with Client(options.server) as client:
            if is_listening(client.server):
                return show(client, options.folder)
            if not options.start:
                print(
                    f"demo: no server at {client.server}: start it with `make run`, or add --start"
                )
                return 3
            with running(graph, options.folder / "run.log") as process:
                wait_until_ready(client, process, options.folder / "run.log")
                return show(client, options.folder)
    except KeyboardInterrupt:
        return 130
    except (TalkError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def show(client: Client, folder: Path) -> int:
    """Says and asks, each by another avatar; returns the exit code of what failed first."""
    client.wait_ready(START_S)
    avatars = client.avatars()
    first, second = avatars[0], avatars[1 % len(avatars)]
    text = (
        f"Hello, I am {first.display_name}. Every picture of me is made by a diffusion transformer,"
        " on this machine, while I speak."
    )
    say = ["say", text, "--avatar", first.id, "--out", str(folder / "say.mp4")]
    ask = ["ask", str(QUESTION), "--avatar", second.id, "--out", str(folder / "ask.mp4")]
    for command in (say, ask):
        print(f"\n$ talkingmachines {shlex.join(command)}", flush=True)
        if code := talkingmachines([*command, "--server", client.server]):
            return code
    sheet = folder / "contact.png"
    write_sheet([folder / "say.mp4", folder / "ask.mp4"], sheet)
    print(f"\n{sheet}: frames, mouths and loudness of both")
    return 0


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a server whose output goes to `log`, and ends it with all its children."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with log.open("wb") as output:
        # A session of its own: Ctrl-C here reaches the demo first, which then ends the server.
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        stop(process)
        signal.signal(signal.SIGTERM, previous)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_ready(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    """Shows how long it takes.

    Raises:
        Unavailable: If the server ends, or is not ready in time.
    """
    started = time.monotonic()
    print(f"starting a server; its words go to {log}", file=sys.stderr)
    while (elapsed_s := time.monotonic() - started) < START_S:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{elapsed_s:.0f} s\r")
            sys.stderr.flush()
        try:
            client.wait_ready(1.0)
        except Unavailable:
            if process.poll() is not None:
                last = log.read_text(errors="replace").strip().splitlines()[-5:]
                raise Unavailable("the server did not start:\n" + "\n".join(last)) from None
        else:
            print(f"server ready after {time.monotonic() - started:.0f} s", file=sys.stderr)
            return
    raise Unavailable(f"the server was not ready within {START_S:g} s: see {log}")


def is_listening(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2.0).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
