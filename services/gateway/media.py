"""What a live session plays, and who listens: the border between a session and its connection."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from avatar.timebase import TICKS_PER_SECOND

PLAYED_RATE: Final = 48_000
"""Sample rate, in hertz, of the sound that callers hear: WebRTC's."""
BLOCK_S: Final = 0.02
BLOCK_SAMPLES: Final = round(BLOCK_S * PLAYED_RATE)
BLOCK_TICKS: Final = round(BLOCK_S * TICKS_PER_SECOND)


@dataclass(frozen=True)
class Picture:
    """One frame, (H, W, 3) uint8 RGB; `at` is its instant on the call's clock, in ticks."""

    at: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Block:
    """20 ms of a call: `sound` is (960,) int16 at 48 kHz, from `at` on the call's clock, in ticks.

    `pictures` begin within these 20 ms. The call's clock runs evenly while somebody is connected:
    sound and pictures of one `at` belong together, and `at` gives both their RTP timestamps. Where
    it jumps, the gateway itself stood still, and both jump alike.
    """

    at: int
    sound: NDArray[np.int16]
    pictures: tuple[Picture, ...]


class Peer(Protocol):
    """A caller's connection, as a live session sees it; both methods return at once.

    They are called from the session's event loop, about 50 times a second; what cannot be sent is
    dropped there, oldest first, never queued without bound.
    """

    def play(self, block: Block, /) -> None: ...

    def tell(self, event: dict[str, object], /) -> None:
        """Send an event, JSON-ready."""
        ...
