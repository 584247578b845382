"""One avatar, many viewers: WHEP, rendered and encoded once, and nobody holds up another."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from bench.receiver import Booking
from bench.receiver_viewer import SDP, Player, Seat
from services.gateway.feed import Feed
from services.gateway.http_viewers import link_of
from services.gateway.media import Block
from services.settings import IceServer, Limits
from tests.fakes.caller import Caller
from tests.fakes.calls import CallDesk, call_desk
from tests.fakes.engines import LoudnessDecoder
from tests.fakes.graph import Parts, fake_graph, until
from tests.fakes.offers import REAL, without_channel

pytestmark = pytest.mark.integration

OFFER = REAL["chromium-listening"]
NUM_VIEWERS = 20


async def seat_of(booking: Booking) -> Seat:
    made = await booking.http.post(f"{booking.path}/viewer-tokens", headers=booking.headers)
    assert made.status_code == 201
    return Seat(booking.http, booking.created["id"], made.json()["token"])


async def watched(booking: Booking) -> dict[str, Any]:
    about: dict[str, Any] = (await booking.describe()).json()["viewers"]
    return about


def num_encoded(codec: str) -> float:
    name = "avatar_pictures_encoded_total"
    return REGISTRY.get_sample_value(name, {"codec": codec}) or 0.0


@asynccontextmanager
async def in_call(desk: CallDesk) -> AsyncIterator[tuple[Booking, Caller]]:
    booking = await desk.booking()
    async with Caller().connected(booking.answer) as caller:
        yield booking, caller


class CountingFeed(Feed):
    """Counts the pictures that were played."""

    num_pictures = 0

    def play(self, block: Block) -> None:
        CountingFeed.num_pictures += len(block.pictures)
        super().play(block)


class CountingDecoder(LoudnessDecoder):
    """Counts the chunks that were rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.num_chunks = 0

    def step(self, *arguments: Any, **options: Any) -> Any:
        self.num_chunks += 1
        return super().step(*arguments, **options)


async def test_twenty_viewers_cost_one_render_and_one_encode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.gateway.calls.Feed", CountingFeed)
    decoder = CountingDecoder()
    async with fake_graph(parts=Parts(decoder=lambda: decoder)) as graph, AsyncExitStack() as stack:
        before = num_encoded("VP8"), num_encoded("H264"), decoder.num_chunks
        CountingFeed.num_pictures = 0
        opened = await graph.http.post("/v1/sessions", json={})
        booking = Booking(graph.http, opened.json())
        caller = await stack.enter_async_context(Caller().connected(booking.answer))
        seat = await seat_of(booking)
        players: list[Player] = [Player() for _ in range(NUM_VIEWERS)]
        for player in players:
            await stack.enter_async_context(player.watching(seat))
        await until(lambda: all(min(counts(player)) > 0 for player in players))
        assert (await watched(booking)) == {"watching": NUM_VIEWERS, "most": 50}
        await until(lambda: told_last(caller) == NUM_VIEWERS)

        receivers: list[Player | Caller] = [*players, caller]
        seen = [each.num_frames["video"] for each in receivers]

        def since() -> list[int]:
            return [each.num_frames["video"] - n for each, n in zip(receivers, seen, strict=True)]

        await until(lambda: min(since()) >= 50)
        encoded, chunks = num_encoded("VP8") - before[0], decoder.num_chunks - before[2]
        assert max(each.num_frames["video"] for each in receivers) <= encoded
        assert encoded <= CountingFeed.num_pictures
        assert chunks <= CountingFeed.num_pictures / 12 + 4  # some are on their way
        assert num_encoded("H264") == before[1]


def told_last(caller: Caller) -> int:
    told = caller.told("avatar.viewers")
    return int(told[-1]["viewers"]) if told else 0


def counts(player: Player) -> tuple[int, int]:
    return player.num_frames["audio"], player.num_frames["video"]


async def test_an_answer_is_one_that_a_player_can_use() -> None:
    servers = (
        IceServer(urls=("turn:turn.example.org",), username='u"1', credential=SecretStr("p\\w")),
    )
    async with call_desk() as desk:
        seat = await seat_of(await desk.booking())
        response = await seat.offered(without_channel(OFFER))
        assert response.status_code == 201
        assert response.headers["content-type"].startswith("application/sdp")
        assert response.headers["location"].startswith(f"{seat.path}/")
        assert re.findall(r"m=(\w+)", response.text) == ["audio", "video"]
        assert re.findall(r"a=(send\w+|recv\w+)", response.text) == ["sendonly", "sendonly"]
        assert "link" not in response.headers
    async with call_desk(ice_servers=servers) as desk:
        seat = await seat_of(await desk.booking())
        about = (await seat.http.get(seat.path, headers=seat.headers)).json()
        assert about["ice_servers"] == [
            {"urls": ["turn:turn.example.org"], "username": 'u"1', "credential": "p\\w"}
        ]
        assert about["caller_is_connected"] is False


async def test_the_servers_of_ice_are_linked_as_players_read_them() -> None:
    server = IceServer(
        urls=("turn:a.example", "stun:b.example"), username='u"1', credential=SecretStr("p\\w")
    )
    about = '; rel="ice-server"; username="u\\"1"; credential="p\\\\w"; credential-type="password"'
    assert link_of(server) == f"<turn:a.example>{about}, <stun:b.example>{about}"


@pytest.mark.parametrize(
    ("offer", "headers", "refusal"),
    [
        (OFFER, SDP, (400, "INVALID_INPUT")),  # it has a data channel
        (b"v=0\r\n", SDP, (400, "INVALID_INPUT")),
        (without_channel(OFFER), {"content-type": "text/plain"}, (415, "UNSUPPORTED_MEDIA_TYPE")),
        (OFFER + b"a=x\r\n" * 20_000, SDP, (413, "TOO_LARGE")),
    ],
)
async def test_an_offer_that_is_none_takes_no_seat(
    offer: bytes, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    async with call_desk(Limits(viewers=1)) as desk:
        seat = await seat_of(await desk.booking())
        for _ in range(2):
            refused = await seat.http.post(seat.path, content=offer, headers=seat.headers | headers)
            assert reason_of(refused) == refusal
        assert (await seat.offered(without_channel(OFFER))).status_code == 201


def reason_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["reason"]


async def test_no_more_watch_than_may() -> None:
    async with call_desk(Limits(viewers=1)) as desk, in_call(desk) as (booking, _):
        seat = await seat_of(booking)
        async with Player().watching(seat) as player:
            await until(lambda: player.num_frames["video"] > 0)
            full = await seat.offered(without_channel(OFFER))
            assert reason_of(full) == (503, "TOO_MANY_VIEWERS")
            assert full.headers["retry-after"] == "10"
        async with Player().watching(seat) as player:
            await until(lambda: player.num_frames["video"] > 0)


async def test_offers_of_viewers_may_not_come_without_end() -> None:
    async with call_desk(Limits(viewer_connects_per_minute=2)) as desk:
        seat = await seat_of(await desk.booking())
        for _ in range(2):
            await seat.offered(b"v=0")
        assert reason_of(await seat.offered(b"v=0")) == (429, "TOO_MANY_ATTEMPTS")


async def test_there_are_no_more_tokens_than_may_be() -> None:
    async with call_desk() as desk:
        booking = await desk.booking()
        answers = [
            await booking.http.post(f"{booking.path}/viewer-tokens", headers=booking.headers)
            for _ in range(65)
        ]
        assert {answer.status_code for answer in answers[:64]} == {201}
        assert reason_of(answers[64]) == (429, "TOO_MANY_ATTEMPTS")


async def test_a_token_that_was_taken_back_shows_its_viewers_out() -> None:
    async with call_desk() as desk, in_call(desk) as (booking, caller):
        seat = await seat_of(booking)
        async with Player().watching(seat) as player:
            await until(lambda: player.num_frames["video"] > 0)
            taken = await seat.http.delete(f"{booking.path}/viewer-tokens", headers=booking.headers)
            assert taken.status_code == 204
            await until(lambda: player.is_closed)
            assert reason_of(await seat.offered(OFFER)) == (401, "UNAUTHENTICATED")
        num_frames = caller.num_frames["video"]
        await until(lambda: caller.num_frames["video"] > num_frames + 5)
        await until(lambda: len(caller.told("avatar.viewers")) == 2)
        assert [each["viewers"] for each in caller.told("avatar.viewers")] == [1, 0]


async def test_who_stops_watching_is_gone_at_once() -> None:
    async with call_desk() as desk, in_call(desk) as (booking, _):
        seat = await seat_of(booking)
        async with Player().watching(seat) as player:
            await until(lambda: player.num_frames["video"] > 0)
            gone = await seat.http.delete(player.location, headers=seat.headers)
            assert gone.status_code == 204
            assert (await watched(booking))["watching"] == 0
            again = await seat.http.delete(player.location, headers=seat.headers)
            assert reason_of(again) == (404, "NOT_FOUND")
            await until(lambda: player.is_closed)


async def test_who_is_answered_and_never_comes_keeps_no_seat() -> None:
    async with call_desk(Limits(viewers=1, connect_s=0.1)) as desk:
        seat = await seat_of(await desk.booking())
        assert (await seat.offered(without_channel(OFFER))).status_code == 201
        async with asyncio.timeout(20):
            while (await seat.offered(without_channel(OFFER))).status_code != 201:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@dataclass
class AheadClock:
    """The real one, so much ahead."""

    ahead_s: float = 0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


async def test_viewers_end_with_the_session_and_keep_none_alive() -> None:
    clock = AheadClock()
    async with call_desk(Limits(grace_s=60), clock=clock) as desk:
        async with AsyncExitStack() as stack:
            async with in_call(desk) as (booking, _):
                seat = await seat_of(booking)
                player = await stack.enter_async_context(Player().watching(seat))
                await until(lambda: player.num_frames["video"] > 0)
            await until(lambda: desk.live.peer is None)
            clock.ahead_s = 61
            await until(lambda: not desk.sessions.present)
            assert desk.live.ended == "no_connection"
            await until(lambda: player.is_closed)
            ended = await seat.http.get(seat.path, headers=seat.headers)
            assert reason_of(ended) == (404, "NOT_FOUND")
            assert "no_connection" in ended.json()["detail"]
            guessed = await seat.http.get(seat.path, headers={"authorization": "Bearer tmv_x"})
            assert reason_of(guessed) == (401, "UNAUTHENTICATED")


async def test_viewers_stay_while_the_caller_comes_back() -> None:
    async with call_desk() as desk, AsyncExitStack() as stack:
        async with in_call(desk) as (booking, _):
            seat = await seat_of(booking)
            player = await stack.enter_async_context(Player().watching(seat))
            await until(lambda: player.num_frames["video"] > 0)
        await until(lambda: desk.live.peer is None)
        async with Caller().connected(booking.answer) as back:
            seen = counts(player)
            await until(lambda: all(b > a + 10 for a, b in zip(seen, counts(player), strict=True)))
            assert (await back.event("avatar.viewers"))["viewers"] == 1


async def test_who_takes_nothing_but_h264_gets_an_encoder_and_takes_it_along() -> None:
    async with call_desk() as desk, in_call(desk) as (booking, caller):
        seat = await seat_of(booking)
        before = num_encoded("H264")
        async with Player(video="H264").watching(seat) as player:
            await until(lambda: player.num_frames["video"] > 5)
        gone = num_encoded("H264")
        assert gone > before
        num_frames = caller.num_frames["video"]
        await until(lambda: caller.num_frames["video"] > num_frames + 20)
        assert num_encoded("H264") <= gone + 1  # one may have been on its way


def num_watching(desk: CallDesk) -> int:
    return sum(call.audience.num_watching for call in desk.calls.all())


async def test_nothing_stays_of_viewers() -> None:
    before = asyncio.all_tasks()
    async with call_desk() as desk, in_call(desk) as (booking, _):
        seat = await seat_of(booking)
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(Player().watching(seat))
            await until(lambda: num_watching(desk) == 5)
            await booking.end()
    await until(lambda: asyncio.all_tasks() == before)
