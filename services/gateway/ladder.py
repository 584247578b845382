"""How much picture a call has: less while chunks stay late, again more when there is room."""

from dataclasses import dataclass, replace
from math import inf
from typing import Literal

Rung = Literal["full", "light", "still"]
"""`light`: fewer denoising steps a chunk, and every second picture; left out where a model has no
fewer. `still`: the sound goes on in time, with one picture; the graph gets a chunk now and then."""

WINDOW_S = 3.0
"""How far back it looks for chunks that were late."""
STOOD_S = 0.2
"""A call that stood still for longer, within the window, is stepped down if the graph is slow."""
STUCK_S = 1.0
"""One that stands still for so long without a break is stepped down whatever the reason."""
PROBE_S = 2.0
SHORT_STAY_S = 20.0
"""Down again so soon after it went up: the next time more probes are needed."""
FEWEST_PROBES, MOST_PROBES = 2, 16
"""In time, one after the other, before pictures move again."""
LIGHT = 0.8
"""What a light chunk costs of a full one: docs/capacity.md."""
ROOM = 0.95
"""Of a chunk's duration: what light chunks may be expected to take, or they are not tried."""
LIGHT_CHUNKS = 5
"""Light ones, one after the other, that say as much as one probe."""
EASY = 0.8
"""Of a chunk's duration: what a probe, or a full chunk, may take,"""
EASY_AS_EVER = 1.3
"""or, where the way through the graph is longer than that, of the quickest chunk so far."""


@dataclass(frozen=True)
class Ladder:
    """The state, and what follows from it; every instant is of one clock, in seconds.

    Args:
        chunk_s: What a chunk plays for.
        longest_s: What a probe may take at most: chunks are never made further ahead.
        probe_s: From one probe to the next.
        has_light: Whether there is a rung between full and still.
        reason: Why it is on its rung, for people.
        took_s: For how long, after a step, no picture may come.
    """

    chunk_s: float
    longest_s: float
    probe_s: float = PROBE_S
    has_light: bool = True
    rung: Rung = "full"
    reason: str = ""
    took_s: float = 0.0
    _stood: tuple[tuple[float, float], ...] = ()  # when, and for how long
    _made: tuple[tuple[float, float], ...] = ()  # when, and how long the graph was busy with it
    _standing_s: float = 0.0  # without a break
    _quickest_s: float = inf
    _num_eased: int = 0
    _num_needed: int = FEWEST_PROBES
    _stepped_up_at: float = -inf
    _probed_at: float = -inf

    def played(self, now: float, block_s: float, is_standing: bool, busy_s: float) -> "Ladder":
        """`block_s` were played; `is_standing`: in silence, because a chunk was late.

        `busy_s` is for how long the graph has been busy with the chunk that it makes now.
        """
        if self.rung == "still":
            return self
        if not is_standing:
            return self if self._standing_s == 0 else replace(self, _standing_s=0.0)
        stood = _since(now - WINDOW_S, (*self._stood, (now, block_s)))
        ladder = replace(self, _stood=stood, _standing_s=self._standing_s + block_s)
        return ladder._down(now, busy_s) if ladder._is_overloaded(now, busy_s) else ladder

    def made(self, now: float, took_s: float, busy_s: float) -> "Ladder":
        """A chunk of this rung came back `took_s` after it was sent; it was made in `busy_s`."""
        made = _since(now - WINDOW_S, (*self._made, (now, busy_s)))
        ladder = replace(self, _made=made, _quickest_s=min(self._quickest_s, took_s))
        if self.rung != "light":
            return ladder
        is_easy = busy_s <= EASY * LIGHT * self.chunk_s
        ladder = replace(ladder, _num_eased=self._num_eased + 1 if is_easy else 0)
        has_room = ladder._num_eased >= LIGHT_CHUNKS * self._num_needed
        return replace(ladder, took_s=0.0).up(now, "there is room") if has_room else ladder

    def is_probe_due(self, now: float) -> bool:
        return self.rung == "still" and now - self._probed_at >= self.probe_s

    def probing(self, now: float) -> "Ladder":
        """A probe is sent."""
        return replace(self, _probed_at=now)

    def probed(self, now: float, took_s: float) -> "Ladder":
        """A probe came back `took_s` after it was sent."""
        easy_s = max(EASY * self.chunk_s, EASY_AS_EVER * self._quickest_s)
        is_easy = took_s <= min(easy_s, self.longest_s)
        num_eased = self._num_eased + 1 if is_easy else 0
        ladder = replace(self, _num_eased=num_eased, took_s=took_s if is_easy else 0.0)
        return ladder.up(now, "chunks are in time") if num_eased >= self._num_needed else ladder

    def up(self, now: float, reason: str) -> "Ladder":
        """One rung up."""
        rung: Rung = "light" if self.rung == "still" and self.has_light else "full"
        return replace(self._on(rung, reason), _stepped_up_at=now)

    def _down(self, now: float, busy_s: float) -> "Ladder":
        """Down by as many rungs as it takes."""
        is_soon = now - self._stepped_up_at < SHORT_STAY_S
        needed = min(2 * self._num_needed, MOST_PROBES) if is_soon else FEWEST_PROBES
        load = self._load(self._busy(now, busy_s)[-2:])
        is_light_enough = self.has_light and LIGHT * load <= ROOM
        is_stuck = self._standing_s >= STUCK_S
        rung: Rung = (
            "light" if self.rung == "full" and is_light_enough and not is_stuck else "still"
        )
        # the full one that is being made, and the first light one
        took_s = 2 * self.chunk_s if rung == "light" else 0.0
        return replace(
            self._on(rung, "chunks are late"), _num_needed=needed, _probed_at=now, took_s=took_s
        )

    def _on(self, rung: Rung, reason: str) -> "Ladder":
        return replace(
            self, rung=rung, reason=reason, _stood=(), _made=(), _standing_s=0.0, _num_eased=0
        )

    def _is_overloaded(self, now: float, busy_s: float) -> bool:
        """Whether chunk after chunk takes longer than it plays: a single late one is not that.

        Who has stepped down, or up again only just, has stood still for long enough.
        """
        stood_s = sum(seconds for _, seconds in self._stood)
        if self.rung == "light" or now - self._stepped_up_at < SHORT_STAY_S:
            return stood_s > STOOD_S
        if self._standing_s >= STUCK_S:
            return True
        busy = self._busy(now, busy_s)
        num_slow = sum(seconds > self.chunk_s for seconds in busy)
        return stood_s > STOOD_S and num_slow >= 2 and self._load(busy) > 1

    def _busy(self, now: float, busy_s: float) -> list[float]:
        """What chunks took of late, that which is made now among them if it will be late."""
        busy = [seconds for _, seconds in _since(now - WINDOW_S, self._made)]
        return [*busy, busy_s] if busy_s > self.chunk_s else busy

    def _load(self, busy: list[float]) -> float:
        """What is asked of the graph, by what it can do."""
        return sum(busy) / (self.chunk_s * max(1, len(busy)))


def _since(
    instant: float, records: tuple[tuple[float, float], ...]
) -> tuple[tuple[float, float], ...]:
    return tuple(record for record in records if record[0] >= instant)
