"""Whose chunk comes next: the earliest deadline; where some are late, who was there first."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate, repeat, takewhile

from avatar.media import SessionId

LAX_S = 1.0
"""When an opening, or a chunk that nobody waits for, is due: after live ones, but not for ever."""
STANDBACK_S = 2.0
"""So much later, for each live session that was there before, a chunk is as urgent as theirs where
not all can be in time: by then the ladder of the later session has acted."""

REMEMBERED = 64
"""Sessions that have left, whose places are kept."""


@dataclass(frozen=True)
class Due:
    """`at` is in seconds of the worker's clock; `rank` counts the sessions that come before."""

    at: float
    rank: int = 0


def urgency(waiting: Iterable[Due], now: float, takes_s: float) -> Callable[[Due], float]:
    """What waits is taken by this, the least first; each takes `takes_s`.

    While all can be in time only deadlines count. Under overload all would be late alike, and all
    step down; so instead the last ones are late first, and the first ones are as before.
    """
    done = accumulate(repeat(takes_s), initial=now + takes_s)
    dues = sorted(due.at for due in waiting)
    is_late = any(due < end for due, end in zip(dues, done, strict=False))
    standback_s = STANDBACK_S if is_late else 0.0
    return lambda due: due.at + standback_s * due.rank


class Precedence:
    """A worker's live sessions, in the order in which each sent its first live chunk.

    Whoever comes back has its place again: with another avatar a call opens its edges anew.
    """

    def __init__(self) -> None:
        self._is_here: dict[SessionId, bool] = {}

    def due(self, session: SessionId, arrived: float, left_s: float | None) -> Due:
        """Of a chunk that arrived then; `left_s` is its stamp's: None where nobody waits."""
        if left_s is None:
            return self.lax(arrived)
        self._is_here[session] = True
        before = takewhile(lambda other: other != session, self._is_here)
        return Due(arrived + left_s, sum(self._is_here[other] for other in before))

    def lax(self, arrived: float) -> Due:
        """Of what nobody waits for."""
        return Due(arrived + LAX_S, sum(self._is_here.values()))

    def leave(self, session: SessionId) -> None:
        """Its edge has ended; idempotent."""
        if session in self._is_here:
            self._is_here[session] = False
            gone = [each for each, is_here in self._is_here.items() if not is_here]
            for each in gone[:-REMEMBERED]:
                del self._is_here[each]
