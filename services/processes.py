"""No process outlives the launcher, whatever it was that started it."""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks the launcher to end."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (Linux only)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(grace_s: float = 3.0) -> int:
    """Ask all descendants to end, then make them; returns how many had to be made."""
    deadline = time.monotonic() + grace_s
    for pid in _descendants():
        _signal(pid, signal.SIGTERM)
    while _descendants() and time.monotonic() < deadline:
        _bury()
        time.sleep(0.02)
    stubborn = _descendants()
    while left := _descendants():
        for pid in left:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.02)
    _bury()
    return len(stubborn)


def _descendants() -> list[int]:
    """Living processes below this one, zombies left out; none where there is no /proc."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # the name, in parentheses, may itself hold spaces and parentheses
            fields = status.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _bury() -> None:
    """Collect the children that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
