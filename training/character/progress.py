"""What a run says: how long it will take, what is done, and how much is left."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

EVERY_S = 5.0
"""Between two lines of the same stage."""


def span(seconds: float) -> str:
    """For people: `45 s`, `3 min 20 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


@dataclass
class Progress:
    """Writes lines such as `[ 12 s] clips: 3 of 12; about 2 min 10 s left`; `as_json`, objects
    with `line`, `done`, a share, and `left_s`, which are null until they are known.

    `costs` are seconds of one unit of each kind of work, `left` how many units are still to do.
    """

    out: TextIO
    clock: Callable[[], float] = time.monotonic
    costs: dict[str, float] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    as_json: bool = False
    _began: float = field(default=-1.0)
    _told: float = field(default=-1e9)

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self._began

    @property
    def left_s(self) -> float:
        """By what a unit of each kind took when it was tried."""
        return sum(self.costs[kind] * count for kind, count in self.left.items())

    def tell(self, line: str) -> None:
        if self.as_json:
            self.out.write(json.dumps(self._news(line)) + "\n")
        else:
            self.out.write(f"[{span(self.elapsed_s):>11}] {line}\n")
        self.out.flush()

    def _news(self, line: str) -> dict[str, object]:
        if not self.costs:
            return {"line": line, "done": None, "left_s": None}
        whole_s = self.elapsed_s + self.left_s
        done = self.elapsed_s / whole_s if whole_s else 1.0
        return {"line": line, "done": round(done, 4), "left_s": round(self.left_s, 1)}

    def did(self, kind: str, stage: str, of: int) -> None:
        """One unit of this kind is done; says so at most every few seconds, and at the end."""
        self.left[kind] = max(0, self.left[kind] - 1)
        done = of - self.left[kind]
        if done == of or self.clock() - self._told >= EVERY_S:
            self._told = self.clock()
            left = "" if self.as_json else f"; about {span(self.left_s)} left"
            self.tell(f"{stage}: {done} of {of}{left}")
