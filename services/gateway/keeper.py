"""Keeps the leases of all sessions of a gateway: few trips to the bus, however many there are."""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from avatar.bus import LEASE_TTL_S, Bus, Lease
from avatar.errors import AvatarError, SessionLost
from avatar.telemetry.logging import get_logger

log = get_logger(__name__)

BUS_GRACE_S = 10.0
"""How long sessions go on while the bus is unreachable."""


@dataclass(eq=False)
class _Kept:
    """The leases of one session, when they were last renewed, and the error that ends it."""

    leases: Collection[Lease]
    renewed_at: float
    lost: "asyncio.Future[None]"

    def lose(self, message: str) -> None:
        if not self.lost.done():  # its session may have ended by itself meanwhile
            self.lost.set_exception(SessionLost(message))


class Keeper:
    """Renews all leases every `interval_s`, together.

    One by one they were ten commands a session each time; of a hundred sessions whose turns had
    fallen together, some waited longer for a free connection than an answer may take.
    """

    def __init__(
        self,
        bus: Bus,
        interval_s: float = LEASE_TTL_S / 5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._interval_s = interval_s
        self._clock = clock
        self._kept: set[_Kept] = set()
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._renew_again())

    def check(self) -> None:
        """Raise if nothing is renewed any more.

        Raises:
            RuntimeError: So that Serve replaces the replica.
        """
        if self._task is None or self._task.done():
            raise RuntimeError("the leases of this gateway are not renewed any more")

    async def stop(self) -> None:
        """Idempotent."""
        self._stopped.set()
        if self._task is not None:
            await self._task

    async def keep(self, leases: Collection[Lease]) -> None:
        """Keep the leases of a session, until this is cancelled.

        Nothing of the bus is awaited here: redis-py can swallow a cancellation on Python 3.11.

        Raises:
            SessionLost: One was lost, or the bus was away for too long.
        """
        kept = _Kept(leases, self._clock(), asyncio.get_running_loop().create_future())
        self._kept.add(kept)
        try:
            await kept.lost
        finally:
            self._kept.discard(kept)

    async def _renew_again(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._interval_s)
                return
            await self._renew(list(self._kept))

    async def _renew(self, all_kept: list[_Kept]) -> None:
        began = self._clock()
        try:
            answers = await self._bus.renew_all([each for kept in all_kept for each in kept.leases])
        except (AvatarError, OSError) as error:
            log.warning("renew_failed", sessions=len(all_kept), error=str(error))
            for kept in all_kept:
                if self._clock() - kept.renewed_at > BUS_GRACE_S:
                    kept.lose(f"the bus is away for over {BUS_GRACE_S:g} s")
            return
        answer = iter(answers)
        for kept in all_kept:
            if lost := [lease.stage for lease in kept.leases if not next(answer)]:
                kept.lose(f"the lease of {', '.join(lost)} was lost; start again")
            else:
                kept.renewed_at = began
