"""How much memory a stage will need, and an error that adds it up where there is not enough."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.errors import Unavailable

GIB = 1 << 30
CONTEXT_BYTES = 600 << 20
"""CUDA's own context, its kernels and cuBLAS' workspace, of one process."""
MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
"""Of this process's container: Linux' control groups, version 2."""


@dataclass(frozen=True)
class Need:
    """One reason for memory on a device, and how much."""

    what: str
    num_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a stage keeps on its device; `ways_out` are what would need less, each a phrase."""

    stage: str
    device: torch.device
    needs: Sequence[Need]
    ways_out: Sequence[str]

    @property
    def num_bytes(self) -> int:
        return sum(need.num_bytes for need in self.needs)

    def __str__(self) -> str:
        parts = " + ".join(f"{need.what} {gib(need.num_bytes)}" for need in self.needs)
        return f"{self.stage} on {self.device}: {parts} = {gib(self.num_bytes)} GiB"

    def check(self, free_bytes: int | None = None) -> None:
        """Compare with what is free on the device, or with `free_bytes`.

        Raises:
            Unavailable: With the sum, and the ways out.
        """
        free = free_memory(self.device) if free_bytes is None else free_bytes
        self._fit(free, f"{gib(free)} GiB are free there")

    def check_whole(self, total_bytes: int | None = None) -> None:
        """Compare with all that the device has, whoever holds some of it now; raises as `check`."""
        total = total_memory(self.device) if total_bytes is None else total_bytes
        self._fit(total, f"{gib(total)} GiB are all that it has")

    def _fit(self, num_bytes: int, there: str) -> None:
        if self.num_bytes > num_bytes:
            raise Unavailable(f"{self}, but {there}: {'; or '.join(self.ways_out)}")


def together(plans: Sequence[Plan]) -> list[Plan]:
    """For each device the sum of what is planned there, stage by stage."""
    sums = []
    for device in dict.fromkeys(plan.device for plan in plans):
        there = [plan for plan in plans if plan.device == device]
        ways = dict.fromkeys(way for plan in there for way in plan.ways_out)
        needs = [Need(plan.stage, plan.num_bytes) for plan in there]
        sums.append(Plan("all stages", device, needs, list(ways)))
    return sums


def gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.2f}"


def free_memory(device: torch.device) -> int:
    """Bytes that may be had now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    left = _left_in_container()
    free = _on_machine("MemAvailable", "SC_AVPHYS_PAGES")
    return free if left is None else min(left, free)


def total_memory(device: torch.device) -> int:
    """Bytes that the device has, or that this process's container may use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    limit = _container_limit()
    whole = _on_machine("MemTotal", "SC_PHYS_PAGES")
    return whole if limit is None else min(limit, whole)


def _container_limit() -> int | None:
    """None without one."""
    try:
        most = (GROUP / "memory.max").read_text().strip()
        return None if most == "max" else int(most)
    except (OSError, ValueError):  # no container, or another system
        return None


def _left_in_container() -> int | None:
    """Up to its limit; None without one. What is cached of files is given up when it is needed."""
    try:
        used = int((GROUP / "memory.current").read_text())
        lines = (GROUP / "memory.stat").read_text().splitlines()
        cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        most = _container_limit()
        return None if most is None else max(most - used + cached, 0)
    except (OSError, ValueError, StopIteration):  # no container, or another system
        return None


def _on_machine(entry: str, pages: str) -> int:
    """In bytes, by Linux' own account; `pages` is what other systems have of it."""
    try:
        for line in MEMINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == entry:
                return int(value.split()[0]) << 10
    except OSError:  # no Linux
        pass
    known = pages if pages in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(known) * os.sysconf("SC_PAGE_SIZE")


def num_bytes_of(state: object) -> int:
    """Of all tensors and arrays in a session's state, each counted once."""
    return sum({id(each): each.nbytes for each in _arrays(state)}.values())


def _arrays(state: object) -> Iterator[torch.Tensor | np.ndarray[Any, Any]]:
    if isinstance(state, torch.Tensor | np.ndarray):
        yield state
    elif isinstance(state, tuple | list):
        for each in state:
            yield from _arrays(each)
    elif isinstance(state, Mapping):
        yield from _arrays(tuple(state.values()))
    else:
        yield from _arrays(tuple(getattr(state, "__dict__", {}).values()))
