"""Who may begin: one line for all gateways, and a free slot goes to who stands first in it."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from avatar.bus import Bus
from avatar.errors import AvatarError, Busy
from avatar.telemetry import metrics

AT_ONCE: Final = 8
"""So many take their leases at the same time. Of a crowd that all did, each would be as slow as
all together, and whoever had its last lease might have lost its first. (A line lets in one by
one.)"""
POLL_S: Final = 0.2
"""How often one who waits asks how far it is."""
TELL_S: Final = 2.0
"""A caller hears of its place at least so often: it shows that the connection lives."""
FIRST_GUESS_S: Final = 10.0
"""A place further in line, as long as nobody has moved up yet."""
SHORTEST_RETRY_S: Final = 1.0
OR_WAIT: Final = ", or ask to wait"
"""To who did not."""
_LEARN: Final = 0.3

T = TypeVar("T")


class GatewayFull(Exception):
    """The gateway that was asked has no free slot, another one may have; never leaves here."""


@dataclass(frozen=True)
class Place:
    """In line. `position` 1 is next; `estimate_s` is a guess from how fast the line moved."""

    position: int
    waiting: int
    estimate_s: float


Tell = Callable[[Place], Awaitable[None]]


class Admission:
    """Lets callers in one after the other; exactly as many as there are slots."""

    def __init__(
        self,
        bus: Bus,
        *,
        longest: int,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`longest` callers may wait, each for `patience_s`."""
        self._bus = bus
        self._longest = longest
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._place_s = FIRST_GUESS_S
        self._doors = asyncio.Semaphore(AT_ONCE)
        self._leaving: set[asyncio.Task[None]] = set()

    async def admit(self, acquire: Callable[[], Awaitable[T]], tell: Tell | None = None) -> T:
        """What `acquire` gives, once it is this caller's turn.

        It may be cancelled after `acquire` was done: who gives the slots back is settled by then.

        Args:
            acquire: Takes all slots of a session, or raises Busy or GatewayFull and holds none.
            tell: Hears of the caller's place in line; without it nobody waits.

        Raises:
            Busy: All slots are taken and the caller does not wait, too many wait already, or
                it waited for too long.
        """
        if tell is None:
            return await self._at_once(acquire)
        return await self._in_turn(acquire, tell)

    async def _at_once(self, acquire: Callable[[], Awaitable[T]]) -> T:
        waiting = await self._bus.line_length()
        if waiting:  # a slot that is free this moment is theirs
            raise self._refusal(f"{waiting} callers wait for a free slot already", waiting, OR_WAIT)
        try:
            async with self._doors:
                return await acquire()
        except (Busy, GatewayFull) as error:
            raise self._refusal(str(error), waiting, OR_WAIT) from error

    async def _in_turn(self, acquire: Callable[[], Awaitable[T]], tell: Tell) -> T:
        ticket, began = uuid.uuid4().hex, self._clock()
        told: Place | None = None
        told_at = moved_at = began
        steps_aside = False
        metrics.waiting.inc()
        try:
            while True:
                before = await self._bus.stand_in_line(
                    ticket, self._longest, steps_aside=steps_aside
                )
                if before is None:
                    raise self._refusal(
                        f"{self._longest} callers wait for a free slot already", self._longest
                    )
                now = self._clock()
                if told is not None and before + 1 < told.position:
                    self._learn((now - moved_at) / (told.position - before - 1))
                    moved_at = now
                if before == 0:
                    try:
                        acquired = await acquire()
                    except (Busy, GatewayFull) as error:
                        # those behind, at other gateways, need not wait for ours
                        steps_aside = isinstance(error, GatewayFull)
                    else:
                        if told is not None:
                            self._learn(self._clock() - moved_at)
                        return acquired
                if now - began > self._patience_s:
                    raise self._refusal(
                        f"no slot became free within {self._patience_s:g} s", before
                    )
                if told is None or told.position != before + 1 or now - told_at >= TELL_S:
                    told = await self._place(before)
                    told_at = now
                    await tell(told)
                await self._sleep(POLL_S)
        finally:
            metrics.waiting.dec()
            await self._leave(ticket)

    async def _leave(self, ticket: str) -> None:
        """Also when the caller is cancelled, and cancelled again."""

        async def leave() -> None:
            with suppress(AvatarError, OSError):  # an unreachable bus forgets us by itself
                await self._bus.leave_line(ticket)

        task = asyncio.create_task(leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        await asyncio.shield(task)

    async def _place(self, before: int) -> Place:
        waiting = max(before + 1, await self._bus.line_length())
        return Place(before + 1, waiting, round((before + 1) * self._place_s, 1))

    def _learn(self, seconds: float) -> None:
        self._place_s += _LEARN * (seconds - self._place_s)

    def _refusal(self, message: str, before: int, advice: str = "") -> Busy:
        retry_after_s = max(SHORTEST_RETRY_S, min(60.0, (before + 1) * self._place_s))
        return Busy(
            f"{message}; try again in about {retry_after_s:.0f} s{advice}",
            retry_after_s,
            before + 1,
        )
