"""Idempotency-Key: who asks again after a lost answer gets the session that was opened."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from avatar.bus import WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.media import WorkerId
from bench.receiver import Booking
from services.gateway.forward import Forwarder
from services.settings import Limits
from tests.fakes.caller import Caller
from tests.fakes.calls import CallDesk, call_desk, served_desk
from tests.fakes.graph import until

pytestmark = pytest.mark.integration

KEY = {"idempotency-key": "a-key-of-mine"}
WAITING = {"accept": "text/event-stream"}


async def opened(http: httpx.AsyncClient, **headers: str) -> dict[str, Any]:
    answer = await http.post("/v1/sessions", headers=KEY | headers)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_the_same_key_opens_one_session_and_only_the_last_token_is_good() -> None:
    async with call_desk() as desk:
        first, again = await opened(desk.http), await opened(desk.http)
        assert first["id"] == again["id"]
        assert desk.sessions.opened == 1
        statuses = [
            (await Booking(desk.http, created).describe()).status_code for created in (first, again)
        ]
        assert statuses == [401, 200]


async def test_two_at_once_open_one_session() -> None:
    async with call_desk(slots=9) as desk:
        both = await asyncio.gather(*(opened(desk.http) for _ in range(2)))
        assert both[0]["id"] == both[1]["id"]
        assert desk.sessions.opened == 1


async def test_another_key_or_none_opens_another_session() -> None:
    async with call_desk(slots=9) as desk:
        first = await opened(desk.http)
        other = await opened(desk.http, **{"idempotency-key": "another"})
        bare = (await desk.http.post("/v1/sessions")).json()
        assert len({first["id"], other["id"], bare["id"]}) == 3


async def test_a_key_of_another_request_is_refused() -> None:
    async with call_desk() as desk:
        await opened(desk.http)
        refused = await desk.http.post("/v1/sessions", json={"avatar": "finn"}, headers=KEY)
        assert (refused.status_code, refused.json()["reason"]) == (422, "KEY_REUSED")


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9"])
async def test_what_is_no_key_is_refused(key: str) -> None:
    async with call_desk() as desk:
        headers = {b"idempotency-key": key.encode("latin-1")}
        refused = await desk.http.post("/v1/sessions", headers=headers)
        assert (refused.status_code, refused.json()["reason"]) == (400, "INVALID_INPUT")
        assert desk.sessions.opened == 0


async def test_after_a_refusal_the_key_may_be_tried_again() -> None:
    async with call_desk(slots=1) as desk:
        taken = await desk.booking()
        assert (await desk.http.post("/v1/sessions", headers=KEY)).status_code == 503
        await desk.http.delete(taken.path, headers=taken.headers)
        assert (await opened(desk.http))["id"] != taken.created["id"]


async def test_a_session_that_ended_before_anybody_came_is_opened_anew() -> None:
    async with call_desk() as desk:
        first = await opened(desk.http)
        desk.live.end("no_connection")
        await until(lambda: not desk.sessions.present)
        assert (await opened(desk.http))["id"] != first["id"]


async def test_a_call_that_took_place_is_not_repeated() -> None:
    async with served_desk() as desk:
        booking = Booking(desk.http, await opened(desk.http))
        async with Caller().connected(booking.answer) as caller:
            await until(lambda: caller.num_frames["video"] > 0)
        await desk.http.delete(booking.path, headers=booking.headers)
        refused = await desk.http.post("/v1/sessions", headers=KEY)
        assert refused.status_code == 404
        assert "has ended: hung_up" in refused.json()["detail"]


async def test_of_a_call_that_is_over_nothing_is_kept_but_its_end() -> None:
    async with served_desk() as desk:
        booking = Booking(desk.http, await opened(desk.http))
        async with Caller().connected(booking.answer) as caller:
            await until(lambda: caller.num_frames["video"] > 0)
        kept = weakref.ref(desk.calls.all()[0])
        await desk.http.delete(booking.path, headers=booking.headers)
        desk.lives.clear()
        await opened(desk.http, **{"idempotency-key": "another"})

        def is_gone() -> bool:
            gc.collect()
            return kept() is None

        await until(is_gone)
        refused = await desk.http.post("/v1/sessions", headers=KEY)
        assert "has ended: hung_up" in refused.json()["detail"]


async def test_who_waits_in_line_twice_has_one_place_in_it() -> None:
    async with served_desk(slots=1) as desk:
        taken = await desk.booking()
        first = asyncio.create_task(line(desk.http))
        await until(lambda: desk.sessions.opening == 1)
        second = asyncio.create_task(line(desk.http))
        place = await desk.sessions.bus.line_length()
        assert place == 1
        await desk.http.delete(taken.path, headers=taken.headers)
        texts = await asyncio.gather(first, second)
        assert all("session.created" in text for text in texts)
        assert desk.sessions.opened == 2


async def line(http: httpx.AsyncClient) -> str:
    return (await http.post("/v1/sessions", headers=KEY | WAITING)).text


@dataclass
class Pair:
    bus: MemoryBus
    first: CallDesk
    second: CallDesk


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    bus = MemoryBus()
    names = WorkerId("gateway-1"), WorkerId("gateway-2")
    forwarders = [Forwarder(bus, name, Limits()) for name in names]
    async with (
        served_desk(bus=bus, worker=names[0], elsewhere=forwarders[0]) as first,
        served_desk(bus=bus, worker=names[1], elsewhere=forwarders[1]) as second,
    ):
        for name, desk in zip(names, (first, second), strict=True):
            url = str(desk.http.base_url).rstrip("/")
            await bus.advertise(WorkerInfo(name, "gateway", "memory://1", 9, http=url), 60)
        try:
            yield Pair(bus, first, second)
        finally:
            for forwarder in forwarders:
                await forwarder.close()


async def test_another_gateway_gives_the_session_of_the_first() -> None:
    async with pair() as two:
        created, again = await opened(two.first.http), await opened(two.second.http)
        assert created["id"] == again["id"]
        assert two.second.lives == []
        events = await line(two.second.http)
        assert "KEY_REUSED" in events  # who waits asks for something else than who does not


async def test_a_gateway_that_is_gone_is_not_waited_for() -> None:
    async with pair() as two:
        await opened(two.first.http)
        await two.bus.withdraw(WorkerId("gateway-1"))
        await opened(two.second.http)
        assert len(two.second.lives) == 1
