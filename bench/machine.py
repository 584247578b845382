"""What the numbers were measured on, and whether anything else was running meanwhile."""

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # has no types

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""What decides how fast a CPU multiplies matrices."""
QUIET_CORES = 0.2
"""Others may use this much of the cores before the machine counts as busy."""
LISTEN_S = 0.5


def describe_machine() -> dict[str, Any]:
    model, flags = cpu_of(Path("/proc/cpuinfo"))
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "flags": [flag for flag in FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def cpu_of(cpuinfo: Path) -> tuple[str, set[str]]:
    if not cpuinfo.exists():
        return "", set()
    fields: dict[str, str] = {}
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return fields.get("model name", ""), set(fields.get("flags", "").split())


def describe_commit() -> str:
    """Short hash of the checkout, and whether its tracked files are as committed."""
    commit = _git("rev-parse", "--short", "HEAD") or "no git"
    changed = [line for line in _git("status", "--porcelain", "-uno").splitlines() if line]
    # this tool's own output is no change of what is measured
    foreign = [line for line in changed if "bench/RES" not in line and "bench/res" not in line]
    return f"{commit} with changes" if foreign else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


class Conditions:
    """The circumstances of one measurement, told before and after it."""

    def __init__(self) -> None:
        self._date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self._load = os.getloadavg()[0]
        self._others_before = cores_in_use()
        self._started = time.monotonic()

    def told(self) -> dict[str, Any]:
        """Call it when everything that was started has ended."""
        took_s = time.monotonic() - self._started
        return {
            "date": self._date,
            "commit": describe_commit(),
            "took_s": round(took_s, 1),
            "load_average": round(self._load, 2),
            "others_cores": round(max(self._others_before, cores_in_use()), 2),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "machine": describe_machine(),
        }


def cores_in_use() -> float:
    """How many cores all processes together use while this one only waits."""
    before, started = _busy_s(), time.monotonic()
    time.sleep(LISTEN_S)
    return max(0.0, (_busy_s() - before) / (time.monotonic() - started))


def _busy_s() -> float:
    times = psutil.cpu_times()._asdict()
    # guests are counted in user and nice already
    waiting = ("idle", "iowait", "guest", "guest_nice")
    return sum(float(value) for name, value in times.items() if name not in waiting)


def is_quiet(conditions: dict[str, Any]) -> bool:
    return float(conditions["others_cores"]) <= QUIET_CORES


def command_line(arguments: list[str]) -> str:
    """How this program was called, as a person would repeat it."""
    return " ".join(["python -m bench", *arguments]) if arguments else "make bench"


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
