"""What a key may use: sessions at once, minutes of a day, openings of a minute."""

import asyncio
import math

import pytest

from avatar.bus.memory import MemoryBus
from avatar.errors import AvatarError, QuotaExceeded, Unavailable
from avatar.transport.status import error_of, status_of
from services.gateway.accounts import KEEP_S, SHARE_TTL_S, Accounts
from services.gateway.keyring import ANYBODY, Caller
from tests.fakes.calls import ManualClock

pytestmark = pytest.mark.unit

KIOSK = Caller("kiosk", sessions=2, minutes_a_day=1.0, opens_a_minute=3)
FREE = Caller("free", sessions=2, minutes_a_day=0.0, opens_a_minute=100)
MIDNIGHT = 86_400.0 * 20_000


class Desk:
    """Accounts whose time passes when they are told that it does."""

    def __init__(self) -> None:
        self.clock = ManualClock(MIDNIGHT + 3600.0)
        self.bus = MemoryBus(self.clock)
        self._sleeping: list[asyncio.Future[None]] = []
        self.accounts = Accounts(self.bus, now=self.clock, clock=self.clock, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleeping.append(future)
        await future

    async def pass_s(self, seconds: float) -> None:
        """In steps as long as those in which accounts are kept."""
        while seconds > 0:
            self.clock.now += min(seconds, KEEP_S)
            seconds -= KEEP_S
            await asyncio.sleep(0)  # who has just begun goes to sleep first
            sleeping, self._sleeping = self._sleeping, []
            for future in sleeping:
                if not future.done():
                    future.set_result(None)
            for _ in range(3):
                await asyncio.sleep(0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_key_has_as_many_sessions_as_it_may(desk: Desk) -> None:
    async with desk.accounts.place(FREE), desk.accounts.place(FREE):
        await desk.pass_s(3 * SHARE_TTL_S)  # they are kept
        with pytest.raises(QuotaExceeded, match="2 sessions") as refused:
            async with desk.accounts.place(FREE):
                pass
        assert refused.value.quota == "sessions"
        async with desk.accounts.place(Caller("else", sessions=1, opens_a_minute=9)):
            pass
    async with desk.accounts.place(FREE), desk.accounts.place(FREE):
        pass


async def test_a_session_that_fails_gives_its_place_back(desk: Desk) -> None:
    for _ in range(5):
        with pytest.raises(Unavailable):
            async with desk.accounts.place(FREE), desk.accounts.metered(FREE):
                raise Unavailable("no")


async def test_a_day_has_so_many_minutes(desk: Desk) -> None:
    async with desk.accounts.metered(KIOSK) as left_s:
        assert left_s() == 60.0
        await desk.pass_s(25.0)
    async with desk.accounts.metered(KIOSK) as left_s:
        assert left_s() == pytest.approx(35.0)
        await desk.pass_s(20.0)
        # another gateway sees what was written down so far
        there = Accounts(desk.bus, now=desk.clock, clock=desk.clock)
        async with there.metered(KIOSK) as left_s:
            assert left_s() == pytest.approx(15.0)
        await desk.pass_s(15.0)
    with pytest.raises(QuotaExceeded, match="1 minutes of today") as refused:
        async with desk.accounts.place(KIOSK):
            pass
    assert refused.value.quota == "minutes_a_day"
    assert refused.value.retry_after_s == pytest.approx(23 * 3600 - 60)
    desk.clock.now = MIDNIGHT + 86_400
    async with desk.accounts.place(KIOSK), desk.accounts.metered(KIOSK) as left_s:
        assert left_s() == 60.0


async def test_all_sessions_of_a_key_use_its_minutes_up_together(desk: Desk) -> None:
    async with desk.accounts.metered(KIOSK) as one, desk.accounts.metered(KIOSK) as other:
        await desk.pass_s(20.0)
        assert max(one(), other()) <= 20.0 + KEEP_S
        await desk.pass_s(10.0)
        assert min(one(), other()) <= 0.0
        await desk.pass_s(10.0)
        assert max(one(), other()) <= 0.0


async def test_a_minute_has_so_many_openings(desk: Desk) -> None:
    for _ in range(3):
        async with desk.accounts.place(KIOSK):
            pass
    with pytest.raises(QuotaExceeded, match="3 sessions within this minute") as refused:
        async with desk.accounts.place(KIOSK):
            pass
    assert refused.value.quota == "opens_a_minute"
    desk.clock.now += refused.value.retry_after_s
    async with desk.accounts.place(KIOSK):
        pass


async def test_who_needs_no_key_has_no_account(desk: Desk) -> None:
    for _ in range(100):
        async with desk.accounts.place(ANYBODY), desk.accounts.metered(ANYBODY) as left_s:
            assert left_s() == math.inf


async def test_one_who_goes_away_again_and_again_leaves_nothing(desk: Desk) -> None:
    async def come() -> None:
        async with desk.accounts.place(FREE), desk.accounts.metered(FREE):
            await asyncio.Event().wait()

    for _ in range(10):
        task = asyncio.create_task(come())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    for _ in range(5):
        await asyncio.sleep(0)
    async with desk.accounts.place(FREE), desk.accounts.place(FREE):
        pass


def test_a_refusal_crosses_grpc_with_what_was_used_up() -> None:
    error: AvatarError | None = error_of(status_of(QuotaExceeded("no more", 7.0, "sessions")))
    assert isinstance(error, QuotaExceeded)
    assert (str(error), error.retry_after_s, error.quota) == ("no more", 7.0, "sessions")
