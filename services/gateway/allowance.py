"""How often something may happen."""

from collections.abc import Callable


class Allowance:
    """So much a second, and what was saved of `burst_s` seconds at once."""

    def __init__(self, per_s: float, burst_s: float, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s * burst_s)
        self._left = self._most
        self._clock = clock
        self._at = clock()

    def take(self, amount: float = 1.0) -> bool:
        """False, and nothing is taken, where it is more than is left."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < amount:
            return False
        self._left -= amount
        return True
