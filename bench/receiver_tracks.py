"""What came in on one track of a call: each packet's arrival, and when its media are due."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

SOUND_RATE: Final = 48_000
PICTURE_RATE: Final = 90_000
"""Ticks a second of the RTP clocks."""
WRAP: Final = 1 << 32
What = TypeVar("What")


class Unwrapper:
    """32-bit RTP timestamps as numbers that do not begin again."""

    def __init__(self) -> None:
        self._last: int | None = None

    def map(self, timestamp: int) -> int:
        """`timestamp` as the number nearest to the one before."""
        if self._last is not None:
            timestamp += round((self._last - timestamp) / WRAP) * WRAP
        self._last = timestamp
        return timestamp


@dataclass(frozen=True)
class SenderReport:
    """RTCP: the media of `rtp` are due at `ntp_s` of the sender's wall clock."""

    rtp: int
    ntp_s: float


@dataclass(frozen=True)
class Received(Generic[What]):
    """One decoded frame of sound or picture; its last packet arrived at `arrived_s`, monotonic."""

    rtp: int
    arrived_s: float
    what: What


@dataclass
class Track(Generic[What]):
    """One track of a call, in the order of its timestamps."""

    rate: int
    unwrapper: Unwrapper = field(default_factory=Unwrapper)
    arrivals: dict[int, float] = field(default_factory=dict)
    """Monotonic instant of the last packet of each timestamp."""
    reports: list[SenderReport] = field(default_factory=list)
    received: list[Received[What]] = field(default_factory=list)
    num_packets: int = 0

    def note_packet(self, timestamp: int, now_s: float) -> None:
        self.num_packets += 1
        self.arrivals[self.unwrapper.map(timestamp)] = now_s

    def note_report(self, timestamp: int, ntp: int) -> None:
        """`ntp` is 32.32 fixed point, as on the wire."""
        self.reports.append(SenderReport(self.unwrapper.map(timestamp), ntp / WRAP))

    def note_decoded(self, rtp: int, what: What) -> None:
        """`rtp` is unwrapped already."""
        self.received.append(Received(rtp, self.arrivals.get(rtp, float("nan")), what))

    def due_s(self, rtp: float) -> float:
        """When media of this timestamp are to be presented, on the sender's wall clock.

        By the last sender report at or before it, as receivers do it; by the first one where
        there is none before.

        Raises:
            ValueError: No sender report has come.
        """
        if not self.reports:
            raise ValueError("no sender report has come; a call sends one a second")
        index = bisect_right([report.rtp for report in self.reports], rtp) - 1
        report = self.reports[max(0, index)]
        return report.ntp_s + (rtp - report.rtp) / self.rate

    def lateness_s(self) -> NDArray[np.float64]:
        """By how much later than due each timestamp was complete; the clocks' origins differ."""
        return np.array([at - self.due_s(rtp) for rtp, at in sorted(self.arrivals.items())])


def sound_of(track: Track[NDArray[np.int16]]) -> tuple[int, NDArray[np.float32]]:
    """All sound by its timestamps: the first one, and (S,) in [-1, 1], silent where none came."""
    if not track.received:
        return 0, np.zeros(0, np.float32)
    pieces = sorted(track.received, key=lambda each: each.rtp)
    first = pieces[0].rtp
    samples = np.zeros(pieces[-1].rtp + pieces[-1].what.size - first, np.float32)
    for piece in pieces:
        samples[piece.rtp - first :][: piece.what.size] = piece.what / 32768
    return first, samples
