"""How far ahead of playout chunks are made: as little as the graph's present speed allows."""

from collections import deque

from avatar.timebase import ChunkClock

FIRST_LEAD_S = 0.4
MARGIN_S = 0.06
SHORTEST_LEAD_S = 0.2
REMEMBERED_CHUNKS = 24
"""About 12 s of the default avatar: how long a slow chunk keeps the lead up."""
LONGEST_LEAD_CHUNKS = 1.75


class Pace:
    """The lead follows the slowest of the last chunks, because a late one is seen and heard.

    A long lead costs too: an answer begins, and an interruption ends, that much later.
    """

    max_on_the_way = 2

    def __init__(self, clock: ChunkClock) -> None:
        self.lead_s = FIRST_LEAD_S
        self.longest_s = LONGEST_LEAD_CHUNKS * clock.chunk_s
        self._took: deque[float] = deque(maxlen=REMEMBERED_CHUNKS)
        self._num_pictures = self._num_standing = 0
        self._num_late = self._num_stalls = 0
        self._is_standing = False

    def took(self, seconds: float, is_late: bool) -> None:
        """A chunk came back `seconds` after it was sent; `is_late`: it was waited for."""
        self._took.append(seconds)
        self._num_late += is_late
        needed = max(self._took) + MARGIN_S
        self.lead_s = min(max(needed, SHORTEST_LEAD_S), self.longest_s)

    def played(self, num_pictures: int, is_standing: bool) -> bool:
        """20 ms were played, with so many pictures; `is_standing`: because a chunk was late.

        Returns whether a stall began.
        """
        self._num_pictures += num_pictures
        self._num_standing += num_pictures if is_standing else 0
        begins = is_standing and not self._is_standing
        self._num_stalls += begins
        self._is_standing = is_standing
        return begins

    def report(self, seconds: float) -> dict[str, object]:
        """What the caller is told of the last `seconds`."""
        new = self._num_pictures - self._num_standing
        report: dict[str, object] = {
            "fps": round(new / seconds, 1),
            "late_chunks": self._num_late,
            "stalls": self._num_stalls,
            "lead_ms": round(1000 * self.lead_s),
            "reason": "server late" if self._num_late or self._num_stalls else "",
        }
        self._num_pictures = self._num_standing = self._num_late = self._num_stalls = 0
        return report
