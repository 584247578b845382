"""A live session in virtual time: pace, answers, interruptions, connections."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from avatar.errors import AvatarError, DeadlineExceeded
from avatar.media import AudioChunk
from services.gateway.events import CancelResponse, CreateItem, CreateResponse, parse
from services.gateway.live import LiveSession
from services.settings import AppConfig
from tests.fakes.live import FakePeer, FakeSession
from tests.fakes.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit


@asynccontextmanager
async def call(session: FakeSession) -> AsyncIterator[tuple[LiveSession, FakePeer]]:
    live = LiveSession(session.as_session, AppConfig(), asyncio.get_running_loop().time)
    peer = FakePeer()
    async with asyncio.timeout(3600):
        running = asyncio.create_task(live.run())
        live.attach(peer)
        try:
            yield live, peer
        finally:
            live.end("hung_up")
            await running


def ask(live: LiveSession, text: str) -> None:
    item = '{"type":"message","role":"user","content":[{"type":"input_text","text":"%s"}]}'
    event = parse('{"type":"conversation.item.create","item":' + item % text + "}")
    assert isinstance(event, CreateItem)
    live.handle(event)
    live.handle(CreateResponse(type="response.create"))


async def passes(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_idle_video_flows_without_a_stall_and_not_too_far_ahead() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (_, peer):
            await passes(60)
        instants = np.array([at for at, _ in peer.mouths])
        assert set(np.diff(instants)) == {1920}
        assert 60 * 25 - 15 <= len(instants) <= 60 * 25 + 1
        chunks_played = 60 / 0.48
        assert len(session.sent) <= chunks_played + 2
        left_s = [chunk.stamp.left_s for chunk in session.sent[1:]]  # nobody waits for the first
        assert all(each is not None and 0.2 < each < 0.9 for each in left_s)
        assert sum(event["stalls"] for event in peer.told("avatar.quality")) == 0

    in_virtual_time(main())


def test_an_answer_is_heard_whole_and_soon_and_the_mouth_moves_with_it() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await passes(3.1)
            session.say("speech_started")
            await passes(1)
            session.say("speech_stopped", seconds=0.4)
            session.say("transcript", "How are you?")
            await passes(0.5)
            asked = asyncio.get_running_loop().time()
            session.reply("I am very well thank you", 2.0)
            session.say("end_of_reply", "ears\nchat\nvoice")
            await passes(0.2)
            assert live.describe()["state"] == "thinking"
            await passes(6)
            assert live.describe()["state"] == "idle"
        assert peer.first_sound_s() - asked < 0.25 + 0.25 + 0.05  # at worst behind an idle chunk
        loud = np.flatnonzero(peer.sound)
        assert abs(loud[-1] - loud[0] + 1 - 2 * 48_000) < 100
        start = peer.blocks[0][1].at
        for at, mouth in peer.mouths:
            heard = peer.sound[at - start : at - start + 1920]
            if np.count_nonzero(heard) > 1900 and int(loud[0]) + 8000 < at - start:
                assert mouth == 200
        assert session.orders() == [("playback_started", ""), ("playback_finished", "")]
        (latency,) = peer.told("avatar.latency")
        assert [stage["name"] for stage in latency["stages"]] == [
            "end of turn",
            "recognition",
            "chat and voice",
            "next chunk",
            "generation",
            "playout",
        ]
        stages = {stage["name"]: stage["ms"] for stage in latency["stages"]}
        assert abs(sum(stages.values()) - latency["total_ms"]) < 1
        assert stages["end of turn"] == pytest.approx(400, abs=25)
        assert stages["chat and voice"] == pytest.approx(500, abs=25)
        (done,) = peer.told("response.done")
        assert done["response"]["status"] == "completed"
        (finished,) = peer.told("avatar.playback.finished")
        assert finished["text_heard"] == "I am very well thank you"
        assert finished["position_ms"] == pytest.approx(2000, abs=3)
        states = [event["state"] for event in peer.told("avatar.state")]
        assert states == ["idle", "listening", "thinking", "speaking", "idle"]

    in_virtual_time(main())


def test_a_sentence_is_captioned_when_it_begins_to_sound() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            ask(live, "Tell me.")
            session.reply("One two three", 1.5)
            session.reply("four five", 1.0)
            session.say("end_of_reply")
            await passes(6)
        first, second = peer.told("response.output_audio_transcript.delta")
        assert (first["delta"], second["delta"]) == ("One two three", "four five")
        assert second["t_ms"] - first["t_ms"] == pytest.approx(1500, abs=25)
        assert first["words"][1] == {"text": "two", "start_ms": 500, "end_ms": 1000}
        assert session.orders()[0] == ("prompt", "Tell me.")

    in_virtual_time(main())


def test_fifty_interruptions_are_silent_at_once_and_remember_what_was_heard() -> None:
    words = [f"w{number}" for number in range(40)]

    async def main() -> None:
        draw = random.Random(5)
        session = FakeSession()
        async with call(session) as (live, peer):
            for number in range(50):
                epoch = live.describe()["epoch"]
                assert isinstance(epoch, int)
                ask(live, f"Question {number}")
                session.reply(" ".join(words), 10.0, epoch=epoch, pitch_hz=200 + number)
                await passes(draw.uniform(1.0, 9.0))
                decided = asyncio.get_running_loop().time()
                if number % 2:
                    live.handle(CancelResponse(type="response.cancel"))
                else:
                    session.say("barge_in", epoch=epoch)
                    await passes(0.001)
                session.reply("stale words", 3.0, epoch=epoch)  # it was on its way
                session.say("end_of_reply", epoch=epoch)
                await passes(1.5)
                after = [b for at, b in peer.blocks if at > decided + 0.021]
                assert after
                assert not np.concatenate([b.sound for b in after]).any()
                played = np.concatenate([b.sound for _, b in peer.blocks])
                heard_s = np.count_nonzero(played) / 48_000
                kind, text = session.orders()[-1]
                assert kind == "interrupt"
                assert abs(len(text.split()) - heard_s / 0.25) <= 1
                assert text.split() == words[: len(text.split())]
                mouths = [
                    mouth
                    for at, b in peer.blocks
                    if at > decided + 0.5
                    for mouth in [int(p.pixels[0, 0, 0]) for p in b.pictures]
                ]
                assert set(mouths) == {50}
                peer.blocks.clear()
        finished = peer.told("avatar.playback.finished")
        assert len(finished) == 50
        assert all(event["interrupted"] for event in finished)
        assert all(e["response"]["status"] == "cancelled" for e in peer.told("response.done"))
        assert sum(event["stalls"] for event in peer.told("avatar.quality")) == 0

    in_virtual_time(main())


def test_an_interruption_that_comes_too_late_is_answered_all_the_same() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session):
            session.say("barge_in")
            await passes(0.1)
            assert session.orders() == [("interrupt", "")]

    in_virtual_time(main())


def test_a_slow_graph_stalls_sound_and_picture_alike_and_says_so() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            ask(live, "Go on.")
            session.reply("a long answer of many words", 20.0)
            session.say("end_of_reply")
            await passes(8)
            session.latency_s = 1.2
            await passes(1.2)
            session.latency_s = 0.25
            await passes(25)
            assert live.describe()["state"] == "idle"
        assert sum(event["stalls"] for event in peer.told("avatar.quality")) > 0
        assert any(e["reason"] == "server late" for e in peer.told("avatar.quality"))
        # a tone of 220 Hz crosses zero now and then: count what was played by its extent instead
        position = peer.told("avatar.playback.finished")[0]["position_ms"]
        assert position == pytest.approx(20_000, abs=3)
        start = peer.blocks[0][1].at
        silent_open = 0
        for at, mouth in peer.mouths:
            quiet = not peer.sound[at - start : at - start + 960].any()
            silent_open += quiet and mouth == 200
        assert silent_open * 0.04 < 2.0  # pictures that stood while the graph was late, no more

    in_virtual_time(main())


def test_media_stand_still_while_nobody_is_connected_and_go_on_after() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            ask(live, "Hello?")
            session.reply("one two three four five six", 6.0)
            session.say("end_of_reply")
            await passes(3)
            live.detach(peer)
            sent = len(session.sent)
            await passes(20)
            assert len(session.sent) - sent <= 1
            again = FakePeer()
            assert live.attach(again) is None
            await passes(8)
            assert live.describe()["state"] == "idle"
        (greeting,) = again.told("session.created")
        assert greeting["items"] == [{"role": "user", "text": "Hello?"}]
        sentence = again.told("response.output_audio_transcript.delta")[0]
        assert sentence["delta"] == "one two three four five six"
        starts = [word["start_ms"] for word in sentence["words"]]
        assert starts[0] < -2000 < 0 < starts[-1]  # what was heard, and what is still to come
        assert again.told("avatar.playback.finished")[0]["interrupted"] is False
        heard = sum(np.count_nonzero(each.sound) for each in (peer, again))
        assert heard / 48_000 == pytest.approx(6.0, abs=0.1)

    in_virtual_time(main())


def test_a_new_connection_replaces_the_old_one() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await passes(1)
            newer = FakePeer()
            assert live.attach(newer) is peer
            played = len(peer.blocks)
            await passes(1)
            live.detach(peer)  # its connection ends after it was replaced
            await passes(1)
            assert len(peer.blocks) == played
            assert len(newer.blocks) == pytest.approx(100, abs=2)

    in_virtual_time(main())


def test_the_callers_sound_reaches_audio_llm_in_windows_and_in_order() -> None:
    async def main() -> None:
        session = FakeSession()
        sound = np.linspace(0, 1, 5000, dtype=np.float32)
        async with call(session) as (live, _):
            for start in range(0, 5000, 333):
                live.hear(sound[start : start + 333])
                await passes(0.02)
        pieces = [each for each in session.told if isinstance(each, AudioChunk)]
        assert all(piece.samples.size == 512 for piece in pieces)
        assert np.array_equal(np.concatenate([p.samples for p in pieces]), sound[: 9 * 512])

    in_virtual_time(main())


def test_a_flood_of_sound_is_bounded() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, _):
            live.hear(np.zeros(16_000 * 60, np.float32))
            await passes(0.1)
        assert len(session.told) <= 64

    in_virtual_time(main())


def test_a_cough_does_not_take_away_an_answer_that_is_awaited_but_asking_for_silence_does() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            session.say("speech_started")
            session.say("speech_stopped", seconds=0.3)
            session.say("transcript", "How are you?")
            session.say("speech_started")
            session.say("speech_ignored")
            await passes(0.1)
            assert live.describe()["state"] == "thinking"
            assert not peer.told("response.done")
            session.reply("Well", 0.5)
            session.say("end_of_reply")
            await passes(3)
            session.say("speech_started")
            session.say("speech_stopped", seconds=0.3)
            session.say("transcript", "Stop.")
            session.say("speech_ignored")
            await passes(0.1)
            assert live.describe()["state"] == "idle"
        statuses = [event["response"]["status"] for event in peer.told("response.done")]
        assert statuses == ["completed", "cancelled"]

    in_virtual_time(main())


def test_a_failed_turn_is_told_and_the_call_goes_on() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            ask(live, "What?")
            session.say("failed", "the model server does not answer")
            await passes(1)
            assert live.describe()["state"] == "idle"
            ask(live, "And now?")
            session.reply("yes", 0.4)
            session.say("end_of_reply")
            await passes(3)
        statuses = [event["response"]["status"] for event in peer.told("response.done")]
        assert statuses == ["failed", "completed"]
        assert peer.told("error")[0]["error"]["code"] == "turn_failed"

    in_virtual_time(main())


def test_a_stage_that_fails_ends_the_call_with_its_error() -> None:
    async def main() -> None:
        session = FakeSession()
        live = LiveSession(session.as_session, AppConfig(), asyncio.get_running_loop().time)
        peer = FakePeer()
        live.attach(peer)
        running = asyncio.create_task(live.run())
        await passes(1)
        session.fail(DeadlineExceeded("a stage hangs"))
        with pytest.raises(AvatarError, match="hangs"):
            await running
        assert live.ended == "server_error"
        assert peer.events[-1]["type"] == "avatar.ended"

    in_virtual_time(main())


def test_two_calls_side_by_side_are_two_calls_alone() -> None:
    async def alone() -> np.ndarray:
        session = FakeSession()
        async with call(session) as (live, peer):
            ask(live, "Hi")
            session.reply("one two", 2.0)
            session.say("end_of_reply")
            await passes(5)
        return peer.sound

    async def both() -> list[np.ndarray]:
        return list(await asyncio.gather(alone(), alone()))

    single = in_virtual_time(alone())
    for other in in_virtual_time(both()):
        assert np.array_equal(other, single)


def test_what_a_caller_gets_who_comes_back_fits_into_one_message() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, _):
            for number in range(60):
                epoch = live.describe()["epoch"]
                assert isinstance(epoch, int)
                ask(live, f"{number} " + "x" * 1900)
                session.say("end_of_reply", epoch=epoch)
                await passes(0.1)
            again = FakePeer()
            live.attach(again)
        items = again.told("session.created")[0]["items"]
        assert 10 < len(items) < 30
        assert items[-1]["text"].startswith("59 ")

    in_virtual_time(main())
