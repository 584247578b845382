"""How much of its own reply a caller may send ahead of what is played."""

import math
from typing import Final

from avatar.errors import CreditExceeded

WINDOW_MS: Final = 2000
"""So much may wait for its chunk: what an interruption throws away at the most."""
STEP_MS: Final = 100
"""Smaller raises are not told."""


class ReplyCredit:
    """Counts milliseconds of sound since the talk began; what is granted never falls."""

    def __init__(self) -> None:
        self.granted_ms = WINDOW_MS
        self._received_ms = 0

    def take(self, seconds: float) -> None:
        """A piece has come.

        Raises:
            CreditExceeded: It is more than was granted.
        """
        piece_ms = math.ceil(round(1000 * seconds, 6))
        if self._received_ms + piece_ms > self.granted_ms:
            raise CreditExceeded(
                f"{self._received_ms + piece_ms} ms of reply audio were sent, "
                f"{self.granted_ms} ms are granted by now; wait for reply_credit"
            )
        self._received_ms += piece_ms

    def grow(self, backlog_s: float) -> bool:
        """So much waits for its chunk; whether there is a raise to tell."""
        free_ms = self._received_ms + WINDOW_MS - math.ceil(1000 * backlog_s)
        if free_ms < self.granted_ms + STEP_MS:
            return False
        self.granted_ms = free_ms
        return True
