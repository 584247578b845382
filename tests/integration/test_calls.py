"""Calls over HTTP and WebRTC: opened, resumed, hung up, refused, and nothing left of them."""

import asyncio
import gc
import json
import re
import threading
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # has no types
import pytest
from fastapi.responses import StreamingResponse
from pydantic import SecretStr

from avatar.errors import Busy, DeadlineExceeded
from bench.receiver import Booking
from bench.receiver_mic import Mic
from services.gateway.admission import Place, Tell
from services.gateway.call import Call
from services.gateway.http_line import in_line
from services.settings import IceServer, Limits
from tests.fakes.caller import Caller
from tests.fakes.calls import CallDesk, call_desk, served_desk
from tests.fakes.graph import until
from tests.fakes.offers import REAL

pytestmark = pytest.mark.integration

SDP = {"content-type": "application/sdp"}
JSON = {"content-type": "application/json"}
OFFER = REAL["chromium-microphone"]


def reason_of(response: httpx.Response) -> tuple[int, str]:
    """Status and reason of a problem, as RFC 9457 has it."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["detail"]
    return response.status_code, problem["reason"]


async def offered(booking: Booking, offer: bytes, **headers: str) -> httpx.Response:
    return await booking.http.post(
        f"{booking.path}/call", content=offer, headers=booking.headers | SDP | headers
    )


# Sessions


async def test_a_session_is_opened_with_all_that_a_page_needs() -> None:
    servers = (IceServer(urls=("turn:turn.example.org",), username="u", credential=SecretStr("p")),)
    async with call_desk(ice_servers=servers) as desk:
        response = await desk.http.post("/v1/sessions", json={"avatar": "otto"})
        opened = response.json()
        assert response.status_code == 201
        assert response.headers["location"] == f"/v1/sessions/{opened['id']}"
        assert response.headers["cache-control"] == "no-store"
        assert len(opened.pop("token")) >= 40
        assert opened == {
            "id": desk.live.id,
            "avatar": "otto",
            "models": ["a fake"],
            "ice_servers": [
                {"urls": ["turn:turn.example.org"], "username": "u", "credential": "p"}
            ],
            "limits": {"idle_s": 300.0, "grace_s": 30.0, "session_s": 3600.0},
            "profile": {"fps": 25, "chunk_s": 0.48, "width": 256, "height": 256},
        }


async def test_a_session_is_opened_without_a_word_too() -> None:
    async with call_desk() as desk:
        assert (await desk.http.post("/v1/sessions")).status_code == 201


async def test_a_session_says_how_it_is() -> None:
    async with call_desk() as desk:
        booking = await desk.booking("mira")
        described = (await booking.describe()).json()
        assert (described["state"], described["connection"]) == ("idle", None)
        async with Caller().connected(booking.answer) as caller:
            await until(lambda: caller.num_frames["video"] > 3)
            assert (await booking.describe()).json()["connection"]["bits_per_s"] > 0


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"json": {"avatar": "nobody"}}, (404, "NOT_FOUND")),
        ({"json": {"avatar": 3}}, (400, "INVALID_INPUT")),
        ({"json": {"voice": "deep"}}, (400, "INVALID_INPUT")),
        ({"content": b"{", "headers": JSON}, (400, "INVALID_INPUT")),
        ({"content": b"avatar=mira"}, (415, "UNSUPPORTED_MEDIA_TYPE")),
        ({"content": b" " * 100_000}, (413, "TOO_LARGE")),
        ({"headers": {"origin": "https://evil.example"}}, (403, "PERMISSION_DENIED")),
        ({"headers": {"origin": "null"}}, (403, "PERMISSION_DENIED")),
    ],
)  # fmt: skip
async def test_what_opens_no_session_is_a_problem(
    asked: dict[str, Any], refusal: tuple[int, str]
) -> None:
    async with call_desk() as desk:
        response = await desk.http.post("/v1/sessions", **asked)
        assert reason_of(response) == refusal
        assert desk.lives == []


async def test_the_own_page_may_open_calls() -> None:
    async with call_desk() as desk:
        origin = {"origin": "http://127.0.0.1"}
        assert (await desk.http.post("/v1/sessions", headers=origin)).status_code == 201


async def test_when_all_slots_are_taken_the_next_is_told_when_to_try_again() -> None:
    async with call_desk(slots=1) as desk:
        first = await desk.booking()
        full = await desk.http.post("/v1/sessions")
        assert reason_of(full) == (503, "NO_FREE_SLOT")
        assert full.headers["retry-after"] == "10"
        assert full.json()["position"] == 1
        await first.end()
        await until(lambda: not desk.sessions.present)
        assert (await desk.http.post("/v1/sessions")).status_code == 201


@asynccontextmanager
async def waiting(desk: CallDesk, **asked: Any) -> AsyncIterator["Line"]:
    """Asks for a session and waits for it, as a page does."""
    headers = {"accept": "text/event-stream"}
    stream = desk.http.stream("POST", "/v1/sessions", json=asked, headers=headers)
    async with stream as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield Line(response.aiter_lines())


class Line:
    """Server-sent events, as they come."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            name = ""
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                if line.startswith("data: "):
                    event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    assert event["type"] == name
                    return event
        raise AssertionError("the line ended")

    async def until(self, type_: str) -> dict[str, Any]:
        while (event := await self.next())["type"] != type_:
            pass
        return event


async def test_who_asks_to_wait_is_told_its_place_and_gets_the_next_free_slot() -> None:
    async with served_desk(slots=1) as desk:
        first = await desk.booking()
        async with waiting(desk) as one:
            place = await one.next()
            assert (place["type"], place["position"], place["waiting"]) == ("avatar.queue", 1, 1)
            assert place["estimate_s"] > 0
            async with waiting(desk, avatar="zuri") as other:
                assert (await other.next())["position"] == 2
                await first.end()
                session = (await one.until("session.created"))["session"]
                assert len(session["token"]) >= 40
                assert (await other.until("avatar.queue"))["position"] in (1, 2)
                path, headers = f"/v1/sessions/{session['id']}", bearer(session)
                assert (await desk.http.delete(path, headers=headers)).status_code == 204
                later = (await other.until("session.created"))["session"]
                assert later["avatar"] == "zuri"
        assert desk.sessions.present == {later["id"]}
        assert await desk.sessions.bus.line_length() == 0


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {session['token']}"}


async def test_who_asks_to_wait_and_need_not_gets_its_session_at_once() -> None:
    async with served_desk() as desk, waiting(desk) as line:
        assert (await line.next())["type"] == "session.created"


async def test_who_waits_and_goes_away_leaves_the_line() -> None:
    async with served_desk(slots=1) as desk:
        first = await desk.booking()
        async with waiting(desk) as line:
            await line.next()
            assert await desk.sessions.bus.line_length() == 1
        await until(lambda: not desk.sessions.opening)
        await first.end()
        assert (await desk.http.post("/v1/sessions")).status_code == 201


async def test_who_asks_to_wait_where_too_many_do_is_told_so_by_status() -> None:
    async with served_desk(slots=1) as desk, AsyncExitStack() as stack:
        await desk.booking()
        lines = [await stack.enter_async_context(waiting(desk)) for _ in range(3)]
        for line in lines:
            await line.next()
        headers = {"accept": "text/event-stream"}
        full = await desk.http.post("/v1/sessions", headers=headers)
        assert reason_of(full) == (503, "NO_FREE_SLOT")
        assert full.json()["position"] == 4


async def test_who_waited_in_vain_is_told_when_to_come_back() -> None:
    async def open_call(tell: Tell) -> tuple[Call, str]:
        await tell(Place(3, 3, 30.0))
        raise Busy("no slot became free within 120 s", 7.0, 3)

    answer = await in_line(open_call, lambda call, token: {})
    assert isinstance(answer, StreamingResponse)
    *_, last = [str(piece) async for piece in answer.body_iterator]
    told = json.loads(last.partition("data: ")[2])["error"]
    assert (told["code"], told["retry_after_s"], told["position"]) == ("no_free_slot", 7.0, 3)


async def test_who_waits_is_told_that_the_server_stops() -> None:
    async with served_desk(slots=1) as desk:
        await desk.booking()
        async with waiting(desk) as line:
            await line.next()
            closing = asyncio.create_task(desk.calls.close())
            assert (await line.until("error"))["error"]["code"] == "unavailable"
            await closing


async def test_a_hundred_opens_that_are_broken_off_leave_nothing() -> None:
    async with served_desk(slots=2) as desk:
        tasks = [
            asyncio.create_task(desk.http.post("/v1/sessions", headers=headers))
            for headers in [{}, {"accept": "text/event-stream"}] * 50
        ]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0)
            if number % 3:
                task.cancel()
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: not desk.sessions.opening)
        assert await desk.sessions.bus.line_length() == 0


async def test_everything_below_a_session_wants_its_token() -> None:
    async with call_desk() as desk:
        booking, other = await desk.booking(), await desk.booking()
        for method, path in [
            ("GET", booking.path),
            ("DELETE", booking.path),
            ("POST", f"{booking.path}/call"),
            ("DELETE", f"{booking.path}/call"),
        ]:
            for headers in ({}, {"authorization": "Basic abc"}, other.headers):
                refused = await desk.http.request(method, path, headers=headers)
                assert reason_of(refused) == (401, "UNAUTHENTICATED")
                assert refused.headers["www-authenticate"] == "Bearer"
            unknown = path.replace(booking.created["id"], "unknown")
            missing = await desk.http.request(method, unknown, headers=booking.headers)
            assert reason_of(missing) == (404, "NOT_FOUND")
        wrong = await desk.http.put(booking.path, headers=booking.headers)
        assert reason_of(wrong) == (405, "METHOD_NOT_ALLOWED")


async def test_a_session_that_was_ended_is_gone_and_its_caller_may_ask_why() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        assert (await booking.end()).status_code == 204
        again = await booking.end()
        assert reason_of(again) == (404, "NOT_FOUND")
        assert "hung_up" in again.json()["detail"]
        await until(lambda: not desk.sessions.present)
        later = await offered(booking, OFFER)
        assert reason_of(later) == (404, "NOT_FOUND")
        assert "hung_up" in later.json()["detail"]


# Connections


@pytest.mark.parametrize(
    ("offer", "headers", "refusal"),
    [
        (OFFER, {"content-type": "text/plain"}, (415, "UNSUPPORTED_MEDIA_TYPE")),
        (b"", {}, (400, "INVALID_INPUT")),
        (b"\xff", {}, (400, "INVALID_INPUT")),
        (b"v=0\r\n", {}, (400, "INVALID_INPUT")),
        (OFFER.replace(b"opus", b"opium"), {}, (400, "INVALID_INPUT")),
        (OFFER + b"a=x\r\n" * 20_000, {}, (413, "TOO_LARGE")),
    ],
)
async def test_an_offer_that_is_none_is_a_problem_and_leaves_nothing(
    offer: bytes, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        await offered(booking, OFFER[:100])  # what is imported late is imported now
        num_fds, tasks = psutil.Process().num_fds(), asyncio.all_tasks()
        assert reason_of(await offered(booking, offer, **headers)) == refusal
        assert (psutil.Process().num_fds(), asyncio.all_tasks()) == (num_fds, tasks)
        assert (await booking.describe()).status_code == 200


async def test_offers_may_not_come_without_end() -> None:
    async with call_desk(Limits(connects_per_minute=2)) as desk:
        booking = await desk.booking()
        for _ in range(2):
            await offered(booking, b"v=0")
        refused = await offered(booking, b"v=0")
        assert reason_of(refused) == (429, "TOO_MANY_ATTEMPTS")
        assert int(refused.headers["retry-after"]) == 30


async def test_an_answer_is_one_that_a_caller_can_use() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        response = await offered(booking, OFFER)
        assert response.status_code == 201
        assert response.headers["content-type"].startswith("application/sdp")
        assert response.headers["location"] == f"{booking.path}/call"
        assert re.findall(r"a=max-message-size:(\d+)", response.text) == ["16384"]
        assert re.findall(r"m=(\w+)", response.text) == ["audio", "video", "application"]
        assert re.findall(r"a=(sendrecv|sendonly)", response.text) == ["sendrecv", "sendonly"]


async def test_a_reload_takes_the_call_over() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        async with Caller().connected(booking.answer) as old:
            await until(lambda: old.num_frames["video"] > 3)
            async with Caller().connected(booking.answer) as new:
                await until(lambda: new.num_frames["video"] > 3)
                assert (await old.event("avatar.ended"))["reason"] == "replaced"
                await until(lambda: old.is_closed)
                new.send("response.cancel")
                await until(lambda: len(desk.live.events) == 1)
                assert len(desk.live.peers) == 2
                assert not new.told("avatar.ended")
    assert len(desk.lives) == 1


async def test_a_caller_who_leaves_without_a_word_can_come_back() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        async with Caller().connected(booking.answer):
            pass
        await until(lambda: desk.live.peer is None)
        async with Caller().connected(booking.answer) as back:
            await until(lambda: back.num_frames["audio"] > 3)
        assert desk.live.ended == ""


async def test_nobody_connects_and_the_session_is_freed() -> None:
    async with call_desk(Limits(grace_s=0.1)) as desk:
        booking = await desk.booking()
        await until(lambda: not desk.sessions.present)
        assert desk.live.ended == "no_connection"
        assert "no_connection" in (await booking.describe()).json()["detail"]


async def test_hanging_up_keeps_the_session_for_its_grace() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        call = f"{booking.path}/call"
        none = await desk.http.delete(call, headers=booking.headers)
        assert reason_of(none) == (404, "NOT_FOUND")
        async with Caller().connected(booking.answer) as caller:
            assert (await desk.http.delete(call, headers=booking.headers)).status_code == 204
            assert (await caller.event("avatar.ended"))["reason"] == "hung_up"
            await until(lambda: caller.is_closed)
        assert (await booking.describe()).status_code == 200
        async with Caller().connected(booking.answer):
            pass


async def test_a_flood_of_events_ends_the_call_and_says_why() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            for _ in range(300):
                caller.send("response.cancel")
            assert (await caller.event("avatar.ended"))["reason"] == "event_flood"
            await until(lambda: caller.is_closed)
        await until(lambda: not desk.sessions.present)


async def test_a_session_that_fails_tells_its_caller_and_is_freed() -> None:
    async with call_desk() as desk:
        async with Caller().connected((await desk.booking()).answer) as caller:
            desk.fail(DeadlineExceeded("a chunk did not come"))
            assert (await caller.event("avatar.ended"))["reason"] == "server_error"
            await until(lambda: caller.is_closed)
        await until(lambda: not desk.sessions.present)
        assert (await desk.http.post("/v1/sessions")).status_code == 201


async def test_at_shutdown_callers_are_told_and_nothing_stays() -> None:
    before = asyncio.all_tasks()
    async with call_desk() as desk:
        booking = await desk.booking()
        async with Caller(Mic()).connected(booking.answer) as caller:
            closing = asyncio.create_task(desk.calls.close())
            assert (await caller.event("avatar.ended"))["reason"] == "shutdown"
            await closing
            assert desk.sessions.present == set()
            await until(lambda: caller.is_closed)
        refused = await desk.http.post("/v1/sessions")
        assert reason_of(refused) == (503, "UNAVAILABLE")
    await until(lambda: asyncio.all_tasks() == before)
    assert not [each for each in threading.enumerate() if each.name.startswith("encode")]


# Again and again


async def talk(desk: CallDesk) -> None:
    """One call: opened, seen, heard, spoken and typed in, hung up."""
    booking = await desk.booking()
    async with Caller(Mic()).connected(booking.answer) as caller:
        await until(lambda: min(caller.num_frames.values()) > 2 and bool(desk.live.heard))
        caller.send("avatar.say", text="Hello.")
        await until(lambda: bool(desk.live.events))
        await booking.end()
        await caller.event("avatar.ended")
    await until(lambda: not desk.sessions.present)
    desk.lives.clear()


def held() -> tuple[int, int, int]:
    """Tasks, descriptors and threads."""
    process = psutil.Process()
    return len(asyncio.all_tasks()), process.num_fds(), process.num_threads()


@pytest.mark.timeout(300)
async def test_fifty_calls_leave_as_much_as_five() -> None:
    async with call_desk() as desk:
        for _ in range(5):
            await talk(desk)
        await until(lambda: not desk.calls._parting)
        before = held()
        gc.collect()
        tracemalloc.start()
        for _ in range(5):
            await talk(desk)
        gc.collect()
        (few, _) = tracemalloc.get_traced_memory()
        for _ in range(45):
            await talk(desk)
        gc.collect()
        (many, _) = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await until(lambda: held() <= before)
        # caches of libraries fill up; one picture kept would be 200 kB
        assert (many - few) / 45 < 5000
