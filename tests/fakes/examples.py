"""The SDK's examples, run as a reader runs them."""

import os
import sys
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "sdk/examples"
DESCRIPTION: Final = EXAMPLES.parents[1] / "characters/nova.toml"
IN_A_TERMINAL: Final = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""As a terminal starts it; a shell's background jobs ignore Ctrl-C by inheritance."""

Arguments = Callable[[Path], list[str]]

ARGUMENTS: Final[Mapping[str, Arguments]] = {
    "say_to_file.py": lambda folder: ["Good morning.", f"{folder}/a.mp4"],
    "watch_an_answer.py": lambda folder: [f"{folder}/in/question.wav", f"{folder}/a.mp4"],
    "all_avatars.py": lambda folder: [f"{folder}"],
    "own_llm.py": lambda folder: [f"{folder}/in/question.wav"],
    "batch_render.py": lambda folder: [f"{folder}/in", f"{folder}/out"],
    "two_avatars.py": lambda folder: ["mira", "otto", "--turns", "3"],
    "create_avatar.py": lambda folder: [f"{DESCRIPTION}", f"{folder}/a.mp4"],
    "load_test.py": lambda folder: ["--callers", "2"],
}
"""Of each example, given a folder with in/question.wav."""


def command(name: str, folder: Path) -> list[str]:
    return [sys.executable, "-c", IN_A_TERMINAL, str(EXAMPLES / name), *ARGUMENTS[name](folder)]


def environment(server: str) -> dict[str, str]:
    """Nothing of the user's; the clone that is tested, where it is not the installed one."""
    return {
        "TALKINGMACHINES_SERVER": server,
        "PYTHONPATH": os.getenv("PYTHONPATH", ""),
        "PATH": "",
    }


def write_wav(path: Path, samples: bytes, rate: int) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)


def is_anybody_left(group: int) -> bool:
    """Whether a process of that group lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
