"""Two gateways behind one address: any of them answers for any session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avatar.bus import WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.media import SessionId, WorkerId
from bench.receiver import Booking
from bench.receiver_viewer import Player, Seat
from services.gateway.forward import Forwarder
from services.gateway.neighbours import FORWARDED
from services.gateway.recipes import Recipes
from services.settings import Limits
from tests.fakes.avatars import DESCRIBED
from tests.fakes.caller import Caller
from tests.fakes.calls import CallDesk, served_desk
from tests.fakes.graph import until
from tests.fakes.recipe import GatedRecipe

pytestmark = pytest.mark.integration

OWNER = WorkerId("gateway-1")


@dataclass
class Pair:
    """`owner` opens the sessions, `other` is asked about them."""

    bus: MemoryBus
    owner: CallDesk
    other: CallDesk

    async def booking(self) -> Booking:
        """A session of the owner, leased as the coordinator would."""
        booking = await self.owner.booking()
        [info] = await self.bus.workers("gateway")
        assert await self.bus.acquire(SessionId(booking.created["id"]), info) is not None
        return Booking(self.other.http, booking.created)


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[Pair]:
    """`options` are the owner's."""
    bus = MemoryBus()
    forwarder = Forwarder(bus, WorkerId("gateway-2"), Limits())
    async with served_desk(**options) as owner, served_desk(elsewhere=forwarder) as other:
        url = str(owner.http.base_url).rstrip("/")
        await bus.advertise(WorkerInfo(OWNER, "gateway", "memory://1", 9, http=url), 60)
        try:
            yield Pair(bus, owner, other)
        finally:
            await forwarder.close()


async def test_a_call_is_connected_and_ended_at_the_other_gateway() -> None:
    async with pair() as two:
        booking = await two.booking()
        assert (await booking.describe()).json()["state"] == "idle"
        async with Caller().connected(booking.answer) as caller:
            await until(lambda: caller.num_frames["video"] > 3)
            assert (await booking.describe()).json()["connection"]["bits_per_s"] > 0
            hung_up = await two.other.http.delete(f"{booking.path}/call", headers=booking.headers)
            assert hung_up.status_code == 204
        assert (
            await two.other.http.delete(booking.path, headers=booking.headers)
        ).status_code == 204
        assert two.owner.sessions.present == set()
        assert two.other.lives == []


async def test_a_session_is_watched_through_the_other_gateway() -> None:
    async with pair() as two:
        booking = await two.booking()
        async with Caller().connected(booking.answer):
            tokens = f"{booking.path}/viewer-tokens"
            made = await two.other.http.post(tokens, headers=booking.headers)
            seat = Seat(two.other.http, booking.created["id"], made.json()["token"])
            async with Player().watching(seat) as player:
                await until(lambda: min(player.num_frames.values(), default=0) > 0)
                assert (await booking.describe()).json()["viewers"]["watching"] == 1
            assert (await booking.describe()).json()["viewers"]["watching"] == 0
            refused = await two.other.http.get(booking.path, headers=seat.headers)
            assert refused.status_code == 401


async def test_the_owner_asks_for_the_token() -> None:
    async with pair() as two:
        booking, another = await two.booking(), await two.booking()
        for headers in ({}, another.headers):
            refused = await two.other.http.get(booking.path, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert refused.headers["content-type"] == "application/problem+json"


async def test_an_offer_that_is_too_large_goes_nowhere() -> None:
    async with pair() as two:
        booking = await two.booking()
        headers = booking.headers | {"content-type": "application/sdp"}
        refused = await two.other.http.post(
            f"{booking.path}/call", content=b"v" * 100_000, headers=headers
        )
        assert refused.status_code == 413


async def test_a_session_of_nobody_is_not_found() -> None:
    async with pair() as two:
        unknown = await two.other.http.get(
            "/v1/sessions/unknown", headers={"authorization": "Bearer x"}
        )
        assert (unknown.status_code, unknown.json()["reason"]) == (404, "NOT_FOUND")


async def test_a_request_is_sent_on_once() -> None:
    async with pair() as two:
        booking = await two.booking()
        headers = booking.headers | {FORWARDED: "gateway-3"}
        assert (await two.other.http.get(booking.path, headers=headers)).status_code == 404


async def test_an_owner_that_is_gone_is_told_of() -> None:
    async with pair() as two:
        booking = await two.booking()
        [info] = await two.bus.workers("gateway")
        await two.bus.withdraw(info.worker)
        gone = await two.other.http.get(booking.path, headers=booking.headers)
        assert gone.status_code == 404
        dead = WorkerInfo(OWNER, "gateway", "memory://1", 9, http="http://127.0.0.1:1")
        await two.bus.advertise(dead, 60)
        silent = await two.other.http.get(booking.path, headers=booking.headers)
        assert (silent.status_code, silent.json()["reason"]) == (503, "UNAVAILABLE")


async def test_each_gateway_answers_for_its_own_without_asking() -> None:
    async with pair() as two:
        own = await two.other.booking()
        assert (await own.describe()).status_code == 200
        assert two.owner.lives == []


async def test_an_avatar_that_one_makes_is_looked_at_and_stopped_at_the_other(
    tmp_path: Path,
) -> None:
    recipes = Recipes(description=GatedRecipe(tmp_path / "gate"))
    async with pair(worker=OWNER, avatars=tmp_path, recipes=recipes) as two:
        headers = {"content-type": "application/toml"}
        described = DESCRIBED.format(id="nova", title="Nova")
        made = await two.owner.http.post("/v1/avatars", content=described, headers=headers)
        place = made.headers["location"]
        assert (await two.other.http.get(place)).json()["state"] == "running"
        listed = (await two.other.http.get("/v1/operations")).json()
        assert [each["id"] for each in listed["operations"]] == [made.json()["id"]]
        assert (await two.other.http.delete(place)).json()["state"] == "cancelled"
        assert (await two.other.http.get("/v1/operations/x.gateway-9")).status_code == 404


async def test_the_list_of_sessions_is_that_of_both() -> None:
    async with pair() as two:
        theirs, own = await two.booking(), await two.other.booking()
        listed = (await two.other.http.get("/v1/sessions")).json()
        assert [each["id"] for each in listed["sessions"]] == [
            own.created["id"],
            theirs.created["id"],
        ]
        assert listed["silent_gateways"] == []
        dead = WorkerInfo(WorkerId("gateway-3"), "gateway", "", 9, http="http://127.0.0.1:1")
        await two.bus.advertise(dead, 60)
        listed = (await two.other.http.get("/v1/sessions")).json()
        assert len(listed["sessions"]) == 2
        assert listed["silent_gateways"] == ["gateway-3"]
