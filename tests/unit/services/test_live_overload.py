"""A live session whose graph is too slow, in virtual time: a still picture, and live sound."""

import asyncio
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from services.gateway.events import CancelResponse, Swap
from services.gateway.live import LiveSession
from tests.fakes.live import FakePeer, FakeSession
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.services.test_live import ask, call

pytestmark = pytest.mark.unit
REPLY_S = 40.0
IN_TIME_S, TWICE_AS_SLOW_S = 0.25, 0.96


def begin_reply(session: FakeSession, live: LiveSession, seconds: float = REPLY_S) -> None:
    ask(live, "Go on.")
    session.reply("a long answer of many words", seconds)
    session.say("end_of_reply")


def sounding(peer: FakePeer) -> list[tuple[float, NDArray[np.int16]]]:
    """Every 20 ms in which something sounds, and when."""
    return [(at, block.sound) for at, block in peer.blocks if block.sound.any()]


def rungs(peer: FakePeer) -> list[str]:
    return [event["rung"] for event in peer.told("avatar.ladder")]


async def overload(session: FakeSession, peer: FakePeer) -> float:
    """Slow the graph down until the call has stepped down; returns when that was."""
    session.latency_s = TWICE_AS_SLOW_S
    for _ in range(200):
        if rungs(peer)[-1:] == ["still"]:
            return asyncio.get_running_loop().time()
        await asyncio.sleep(0.02)
    raise AssertionError(f"no step down within 4 s: {rungs(peer)}")


def check_mouths(peer: FakePeer, since: float) -> int:
    """Whether pictures after `since` are those of their sound; returns how many were looked at."""
    start = peer.blocks[0][1].at
    first = next(block.at for at, block in peer.blocks if at >= since)
    num_checked = 0
    for at, mouth in peer.mouths:
        heard = peer.sound[at - start : at - start + 1920]
        if at >= first and np.count_nonzero(heard) > 1900:
            assert mouth == 200
            num_checked += 1
    return num_checked


def test_under_overload_the_sound_goes_on_whole_and_pictures_come_back_after_it() -> None:
    async def calm() -> FakePeer:
        session = FakeSession()
        async with call(session) as (live, peer):
            begin_reply(session, live)
            await asyncio.sleep(REPLY_S + 3)
        assert rungs(peer) == []
        return peer

    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            begin_reply(session, live)
            await asyncio.sleep(5)
            down = await overload(session, peer)
            sent = len(session.sent)
            await asyncio.sleep(15)
            assert live.describe()["rung"] == "still"
            assert 3 <= len(session.sent) - sent <= 15 / 2  # probes, and nothing besides
            session.latency_s = IN_TIME_S
            await asyncio.sleep(10)
            up = asyncio.get_running_loop().time() - 2  # long after pictures came back
            await asyncio.sleep(10)
            assert live.describe()["rung"] == "full"
            await asyncio.sleep(REPLY_S - 35)
            assert live.describe()["state"] == "idle"
        assert rungs(peer) == ["still", "light", "full"]
        assert [e["reason"] for e in peer.told("avatar.ladder")] == [
            "chunks are late",
            "chunks are in time",
            "there is room",
        ]
        heard = sounding(peer)
        gaps = np.diff([at for at, _ in heard if at >= down])
        assert gaps.max() < 0.05  # it never stood still again, not even when pictures came back
        before = np.diff([at for at, _ in heard if at < down])
        assert before[before > 0.05].sum() < 1.3
        whole = np.concatenate([sound for _, sound in heard])
        assert np.array_equal(whole, np.concatenate([s for _, s in sounding(await calm())]))
        assert [chunk.stamp.seq for chunk in session.sent] == list(range(len(session.sent)))
        assert check_mouths(peer, up) > 100
        (finished,) = peer.told("avatar.playback.finished")
        assert finished["position_ms"] == pytest.approx(1000 * REPLY_S, abs=3)
        stood = [e for e in peer.told("avatar.quality") if e["fps"] == 0]
        assert len(stood) >= 6
        assert {event["reason"] for event in stood} == {"server late"}
        instants = np.array([at for at, _ in peer.mouths])
        assert np.diff(instants).max() <= 2 * 1920  # a still picture is given again and again

    in_virtual_time(main())


def test_without_pictures_the_face_comes_to_rest() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await asyncio.sleep(3)  # a face at rest was seen
            begin_reply(session, live)
            await asyncio.sleep(5)
            down = await overload(session, peer)
            await asyncio.sleep(6)
        at_rest = [
            int(picture.pixels[0, 0, 0])
            for at, block in peer.blocks
            if at > down + 0.5
            for picture in block.pictures
        ]
        assert set(at_rest) == {50}

    in_virtual_time(main())


def test_a_graph_that_hangs_does_not_stop_the_sound() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            begin_reply(session, live, 20.0)
            await asyncio.sleep(5)
            session.latency_s = 10.0
            await asyncio.sleep(1)
            session.latency_s = IN_TIME_S
            await asyncio.sleep(40)
            assert live.describe()["state"] == "idle"
        assert rungs(peer) == ["still", "light", "full"]
        gaps = np.diff([at for at, _ in sounding(peer)])
        assert gaps.max() < 1.1
        assert gaps[gaps > 0.05].size == 1

    in_virtual_time(main())


def test_one_answers_and_is_interrupted_without_pictures_as_with_them() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            begin_reply(session, live)
            await asyncio.sleep(5)
            await overload(session, peer)
            await asyncio.sleep(1)
            cut = asyncio.get_running_loop().time()
            live.handle(CancelResponse(type="response.cancel"))
            await asyncio.sleep(2.7)
            assert not any(at > cut + 0.021 for at, _ in sounding(peer))
            asked = asyncio.get_running_loop().time()
            ask(live, "And now?")
            session.reply("one two", 1.0, epoch=1)
            session.say("end_of_reply", epoch=1)
            await asyncio.sleep(3)
            assert live.describe()["state"] == "idle"
            answer = [at for at, _ in sounding(peer) if at > asked]
            assert answer[0] - asked < 0.05
            assert len(answer) * 0.02 == pytest.approx(1.0, abs=0.03)
            session.latency_s = IN_TIME_S
            await asyncio.sleep(20)
        assert rungs(peer) == ["still", "light", "full"]
        assert {chunk.stamp.epoch for chunk in session.sent} == {0, 1}
        assert [chunk.stamp.seq for chunk in session.sent] == list(range(len(session.sent)))

    in_virtual_time(main())


def test_a_caller_who_comes_back_is_told_that_the_picture_stands() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await asyncio.sleep(3)
            await overload(session, peer)
            live.detach(peer)
            await asyncio.sleep(1)
            again = FakePeer()
            live.attach(again)
            await asyncio.sleep(0.1)
        assert rungs(again) == ["still"]

    in_virtual_time(main())


def test_another_avatar_is_seen_even_under_overload() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await asyncio.sleep(3)
            await overload(session, peer)
            await asyncio.sleep(1)
            live.handle(Swap(type="avatar.swap", avatar="otto"))
            await asyncio.sleep(0.5)
            assert live.describe()["rung"] == "light"
            await asyncio.sleep(10)
        assert rungs(peer) == ["still", "light", "still"]
        assert session.swaps

    in_virtual_time(main())


def test_a_session_of_uneven_but_sufficient_speed_never_steps_down() -> None:
    async def main() -> None:
        draw = random.Random(3)
        session = FakeSession()
        async with call(session) as (live, peer):
            begin_reply(session, live, 200.0)
            for _ in range(600):
                session.latency_s = draw.uniform(0.15, 0.45)
                await asyncio.sleep(0.4)
        assert rungs(peer) == []

    in_virtual_time(main())


def test_a_graph_a_little_too_slow_makes_light_chunks_and_every_second_picture() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            begin_reply(session, live, 60.0)
            await asyncio.sleep(5)
            session.latency_s = 0.54
            await asyncio.sleep(10)
            assert live.describe()["rung"] == "light"
            (told,) = peer.told("avatar.ladder")
            down = next(at for at, block in peer.blocks if 1000 * block.at >= 48_000 * told["t_ms"])
            await asyncio.sleep(20)
            assert all(chunk.stamp.is_light for chunk in session.sent[-20:])
            assert not any(chunk.stamp.is_light for chunk in session.sent[:5])
            light = [p.at for at, b in peer.blocks if at > down + 2 for p in b.pictures]
            assert set(np.diff(light)) == {2 * 1920}
            assert peer.told("avatar.quality")[-1]["fps"] == pytest.approx(12.5, abs=0.5)
            session.latency_s = IN_TIME_S
            await asyncio.sleep(20)
            assert live.describe()["rung"] == "full"
            assert not session.sent[-1].stamp.is_light
            await asyncio.sleep(20)
        assert rungs(peer) == ["light", "full"]
        heard = sounding(peer)
        assert np.diff([at for at, _ in heard if at >= down]).max() < 0.05
        assert len(heard) * 0.02 == pytest.approx(60, abs=0.05)
        assert [chunk.stamp.seq for chunk in session.sent] == list(range(len(session.sent)))

    in_virtual_time(main())


def test_no_pictures_are_tried_where_light_ones_would_be_late_as_well() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (_, peer):
            await asyncio.sleep(5)
            session.latency_s = 0.64
            await asyncio.sleep(30)
        assert rungs(peer) == ["still"]
        probes = session.sent[-3:]
        assert all(chunk.stamp.is_light and chunk.stamp.left_s is None for chunk in probes)

    in_virtual_time(main())
