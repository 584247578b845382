"""A server started in a terminal leaves the terminal alone."""

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from avatar.audio.files import has_ffmpeg

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
DECODE = (
    "import sys; from pathlib import Path; from avatar.audio.files import decode; "
    "sys.exit(0 if decode(Path(sys.argv[1]).read_bytes()).size else 3)"
)
STOPPED = 9


def run_in_background_of_a_terminal(*command: str) -> int:
    """Exit status of a command in a background process group of a terminal of its own.

    `STOPPED` if it was stopped because it touched the terminal.
    """
    leader, terminal = pty.fork()
    if leader == 0:
        worker = os.fork()
        if worker == 0:
            os.setpgid(0, 0)
            os.chdir(ROOT)
            os.execv(command[0], command)
        _, status = os.waitpid(worker, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.killpg(worker, signal.SIGKILL)
            os._exit(STOPPED)
        os._exit(os.waitstatus_to_exitcode(status))
    _, status = os.waitpid(leader, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status)


def test_the_trap_is_real_a_background_process_that_sets_the_terminal_is_stopped() -> None:
    code = "import termios; termios.tcsetattr(0, termios.TCSANOW, termios.tcgetattr(0))"
    assert run_in_background_of_a_terminal(sys.executable, "-c", code) == STOPPED


@pytest.mark.skipif(not has_ffmpeg(), reason="no ffmpeg here: PyAV decodes, in process")
def test_decoding_through_ffmpeg_does_not_touch_the_terminal() -> None:
    question = next((ROOT / "tests" / "data" / "questions").glob("*.flac"))
    assert run_in_background_of_a_terminal(sys.executable, "-c", DECODE, str(question)) == 0
