"""What a key's callers use of it: sessions at once, minutes of a day, openings of a minute."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from avatar.bus import Bus
from avatar.errors import AvatarError, QuotaExceeded
from avatar.telemetry.logging import get_logger
from services.gateway.keyring import Caller, utc_s

log = get_logger(__name__)

SHARE_TTL_S: Final = 30.0
KEEP_S: Final = 10.0
"""How often a share is kept and its time written down: so much may be lost with a gateway."""
DAY_S: Final = 86_400.0
MINUTE_S: Final = 60.0
RETRY_S: Final = 10.0


class Accounts:
    """Counts over all gateways, on the bus; days and minutes are those of UTC."""

    def __init__(
        self,
        bus: Bus,
        *,
        now: Callable[[], float] = utc_s,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bus = bus
        self._now = now
        self._clock = clock
        self._sleep = sleep

    @asynccontextmanager
    async def place(self, caller: Caller) -> AsyncIterator[None]:
        """One of the sessions that a key may have at once, also while it waits in line.

        Raises:
            QuotaExceeded: It has as many as it may, opened too many within a minute, or its
                minutes of the day are used up.
        """
        if not caller.key:
            yield
            return
        ticket, quota = uuid.uuid4().hex, f"sessions:{caller.key}"
        await self._count_opening(caller, ticket)
        await self._check_time(caller)
        if not await self._bus.take_share(quota, ticket, caller.sessions, SHARE_TTL_S):
            raise QuotaExceeded(
                f"key {caller.key!r} has {caller.sessions} sessions at once, as many as it may; "
                "end one of them, or have the key's `sessions` raised",
                RETRY_S,
                "sessions",
            )

        async def keep() -> None:
            await self._bus.take_share(quota, ticket, caller.sessions, SHARE_TTL_S)

        keeping = asyncio.create_task(self._again_and_again(keep))
        log.info("session_begins", key=caller.key)
        try:
            yield
        finally:
            await _over(keeping, lambda: self._bus.give_share(quota, ticket))
            log.info("session_ends", key=caller.key)

    @asynccontextmanager
    async def metered(self, caller: Caller) -> AsyncIterator[Callable[[], float]]:
        """Time that a slot is held; gives what tells how much is left of the key's day, in seconds.

        All sessions of a key use it up together: each looks what the others have written down.

        Raises:
            QuotaExceeded: None are left.
        """
        if not caller.key:
            yield lambda: math.inf
            return
        began = self._clock()
        until = began + await self._check_time(caller)
        ticket, quota = uuid.uuid4().hex, self._day_of(caller)

        async def write_down() -> None:
            nonlocal until
            now = self._clock()
            # a session that goes on past midnight counts for the day on which it began
            spent_s = await self._bus.spend(quota, ticket, now - began, ttl_s=2 * DAY_S)
            until = now + _left_s(caller, spent_s)

        writing = asyncio.create_task(self._again_and_again(write_down))
        try:
            yield lambda: until - self._clock()
        finally:
            await _over(writing, write_down)

    async def _check_time(self, caller: Caller) -> float:
        if not caller.minutes_a_day:
            return math.inf
        spent_s = await self._bus.spend(self._day_of(caller), "", 0.0, ttl_s=2 * DAY_S)
        left_s = _left_s(caller, spent_s)
        if left_s <= 0:
            raise QuotaExceeded(
                f"key {caller.key!r} has used up its {caller.minutes_a_day:g} minutes of today; "
                "more begin at midnight UTC, or have the key's `minutes_a_day` raised",
                DAY_S - self._now() % DAY_S,
                "minutes_a_day",
            )
        return left_s

    async def _count_opening(self, caller: Caller, ticket: str) -> None:
        minute, into_s = divmod(self._now(), MINUTE_S)
        quota = f"opens:{caller.key}:{minute:.0f}"
        if await self._bus.spend(quota, ticket, 1.0, ttl_s=2 * MINUTE_S) > caller.opens_a_minute:
            raise QuotaExceeded(
                f"key {caller.key!r} opened {caller.opens_a_minute} sessions within this minute, "
                "as many as it may",
                MINUTE_S - into_s,
                "opens_a_minute",
            )

    def _day_of(self, caller: Caller) -> str:
        return f"seconds:{caller.key}:{self._now() // DAY_S:.0f}"

    async def _again_and_again(self, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._sleep(KEEP_S)
            try:
                await do()
            except (AvatarError, OSError) as error:  # the next word makes up for it
                log.warning("account_not_written", error=str(error))


def _left_s(caller: Caller, spent_s: float) -> float:
    return 60.0 * caller.minutes_a_day - spent_s if caller.minutes_a_day else math.inf


async def _over(task: "asyncio.Task[None]", last: Callable[[], Awaitable[None]]) -> None:
    """Stop the task and have the last word, also when its caller is cancelled, and again."""

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})
        with suppress(AvatarError, OSError):
            await last()

    ending = asyncio.create_task(end())
    _ending.add(ending)
    ending.add_done_callback(_ending.discard)
    await asyncio.shield(ending)


_ending: "set[asyncio.Task[None]]" = set()
