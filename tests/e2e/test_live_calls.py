"""Calls to the real graph: coming back, too many, malformed, flooding, and what they leave."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from bench.live import process_named
from bench.receiver import Booking, Receiver, booked
from bench.server import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SLOTS = 2
GRACE_S = 30.0


@pytest.fixture
async def http(graph: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=graph.url, timeout=30, trust_env=False) as client:
        yield client


def listener() -> Receiver[None]:
    return Receiver(lambda picture: None)


async def until(is_so: Callable[[], bool], within_s: float = 20) -> None:
    """Wait for something of another process, which tells nobody when it is so."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def all_places_are_free(url: str) -> None:
    """Open as many sessions as there are places."""
    async with AsyncExitStack() as stack:
        for _ in range(SLOTS):
            await stack.enter_async_context(booked_soon(url))


@asynccontextmanager
async def booked_soon(url: str, avatar: str = "") -> AsyncIterator[Booking]:
    """A session as soon as there is a place: the one before is freed after its end was told."""
    async with AsyncExitStack() as stack:
        booking = None
        async with asyncio.timeout(GRACE_S + 20):
            while booking is None:
                try:
                    booking = await stack.enter_async_context(booked(url, avatar))
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != 503:
                        raise
                    await asyncio.sleep(0.2)
        yield booking


def problem_of(response: httpx.Response) -> dict[str, object]:
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = response.json()
    assert problem["status"] == response.status_code
    return problem


async def test_a_new_connection_finds_the_same_conversation_and_face(graph: Server) -> None:
    async with booked_soon(graph.url, "finn") as booking:
        async with listener().connected(booking) as first:
            first.say("The tide is out.")
            await first.event("avatar.playback.finished")
        async with listener().connected(booking) as second:
            created = await second.event("session.created")
            await until(lambda: len(second.pictures.received) > 10)
    assert created.event["session"]["avatar"] == "finn"
    assert created.event["items"] == [{"role": "assistant", "text": "The tide is out."}]
    assert created.event["session_id"] == booking.created["id"]


async def test_ten_seconds_without_network_cost_nothing_but_these(graph: Server) -> None:
    async with booked_soon(graph.url, "otto") as booking:
        async with listener().connected(booking) as cut:
            cut.say("The clock has stopped.")
            await cut.event("avatar.playback.finished")
            cut.fall_silent()
            cut_at = time.monotonic()
            while (await booking.describe()).json()["connected"]:
                assert time.monotonic() - cut_at < 10
                await asyncio.sleep(0.2)
            await asyncio.sleep(max(0.0, cut_at + 10 - time.monotonic()))
            async with listener().connected(booking) as back:
                created = await back.event("session.created")
                assert created.event["session"]["avatar"] == "otto"
                assert created.event["items"][-1]["text"] == "The clock has stopped."
                back.say("Now it goes on.")
                finished = await back.event("avatar.playback.finished")
                assert finished.event["text_heard"] == "Now it goes on."


async def test_who_connects_again_replaces_the_connection_before(graph: Server) -> None:
    async with booked_soon(graph.url) as booking, listener().connected(booking) as first:
        async with listener().connected(booking) as second:
            ended = await first.event("avatar.ended")
            assert ended.event["reason"] == "replaced"
            since = len(second.told)
            second.say("Here I am.")
            finished = await second.event("avatar.playback.finished", since)
            assert finished.event["text_heard"] == "Here I am."


async def test_who_does_not_come_back_in_time_is_forgotten(graph: Server) -> None:
    gateway = process_named(graph, "gateway")
    async with booked_soon(graph.url) as booking:
        async with listener().connected(booking) as call:
            await until(lambda: len(call.pictures.received) > 10)
        left_at = time.monotonic()
        while (await booking.describe()).status_code == 200:
            assert time.monotonic() - left_at < GRACE_S + 15
            await asyncio.sleep(0.5)
        # a connection counts as lost when its heartbeat stops, or it says so itself
        assert time.monotonic() - left_at >= GRACE_S - 1
    await all_places_are_free(graph.url)
    assert gateway.net_connections(kind="udp") == []


async def test_two_callers_are_served_and_the_third_is_told_when_to_try_again(
    graph: Server, http: httpx.AsyncClient
) -> None:
    async with AsyncExitStack() as stack:
        calls = []
        for avatar in ("mira", "otto"):
            booking = await stack.enter_async_context(booked(graph.url, avatar))
            calls.append(await stack.enter_async_context(listener().connected(booking)))
        refused = await http.post("/v1/sessions", json={"avatar": "zuri"})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert problem_of(refused)["reason"] == "NO_FREE_SLOT"
        for call, text in zip(calls, ("Good morning.", "Good evening."), strict=True):
            call.say(text)
        for call, text in zip(calls, ("Good morning.", "Good evening."), strict=True):
            finished = await call.event("avatar.playback.finished")
            assert finished.event["text_heard"] == text
    await all_places_are_free(graph.url)


@pytest.mark.parametrize(
    ("body", "type", "status"),
    [
        (b"v=0\r\nnonsense", "application/sdp", 400),
        (b"\xff\xfe\x00", "application/sdp", 400),
        (b"", "application/sdp", 400),
        (100_000 * b"a", "application/sdp", 413),
        (b"v=0", "application/json", 415),
    ],
    ids=["nonsense", "no text", "empty", "oversized", "wrong type"],
)
async def test_a_bad_offer_is_refused_and_the_session_goes_on(
    graph: Server, http: httpx.AsyncClient, body: bytes, type: str, status: int
) -> None:
    async with booked_soon(graph.url) as booking:
        headers = booking.headers | {"content-type": type}
        response = await http.post(f"{booking.path}/call", content=body, headers=headers)
        assert response.status_code == status
        problem_of(response)
        async with listener().connected(booking) as call:
            await call.event("session.created")


async def test_an_unknown_session_and_a_wrong_token_are_refused(
    graph: Server, http: httpx.AsyncClient
) -> None:
    async with booked_soon(graph.url) as booking:
        path = booking.path
        assert (await http.get(path)).status_code == 401
        wrong = {"authorization": "Bearer wrong"}
        assert problem_of(await http.delete(path, headers=wrong))["status"] == 401
        unknown = await http.get("/v1/sessions/nobody", headers=booking.headers)
        assert problem_of(unknown)["status"] == 404
        assert (await booking.describe()).status_code == 200
        assert (await booking.end()).status_code == 204
        assert (await booking.end()).status_code == 404


async def flooded(booking: Booking, flood: Callable[[Receiver[None]], object]) -> str:
    """Why a call ended in which `flood` was done again and again."""
    async with listener().connected(booking) as call:
        for _ in range(2000):
            if any(told.type == "avatar.ended" for told in call.told):
                break
            flood(call)
            await asyncio.sleep(0.002)
        ended = await call.event("avatar.ended")
    return str(ended.event["reason"])


async def test_a_flood_of_events_ends_the_call_with_its_reason(graph: Server) -> None:
    async with booked_soon(graph.url) as booking:
        assert await flooded(booking, lambda call: call.stop()) == "event_flood"
    await all_places_are_free(graph.url)


async def test_a_flood_of_texts_ends_the_call_with_its_reason(graph: Server) -> None:
    async with booked_soon(graph.url) as booking:
        reason = await flooded(booking, lambda call: call.say("Again and again."))
        assert reason.endswith("flood")
    await all_places_are_free(graph.url)


async def test_calls_one_after_the_other_leave_no_descriptor(graph: Server) -> None:
    gateway = process_named(graph, "gateway")
    counts = []
    for _ in range(5):
        async with booked_soon(graph.url) as booking, listener().connected(booking) as call:
            call.say("Hello.")
            await call.event("avatar.playback.finished")
        await all_places_are_free(graph.url)
        counts.append(gateway.num_fds())
    # pools of gRPC and Redis may open one more; a leak is at least one in each of three calls
    assert counts[-1] - counts[1] < 3
