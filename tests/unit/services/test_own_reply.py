"""A caller's own reply in a live session, in virtual time: laid, heard, interrupted, dropped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from avatar.errors import TooLarge
from avatar.media import Word
from services.gateway.answer import Heard, evenly
from services.gateway.events import Say
from services.gateway.live import LiveSession
from services.gateway.own_reply import EndReply, ReplySpeech, ReplyText
from services.settings import AppConfig, Limits
from tests.fakes.live import FakePeer, FakeSession
from tests.fakes.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit

RATE = 24_000


@asynccontextmanager
async def call(
    session: FakeSession, limits: Limits | None = None
) -> AsyncIterator[tuple[LiveSession, FakePeer]]:
    config = AppConfig(limits=limits or Limits())
    live = LiveSession(session.as_session, config, asyncio.get_running_loop().time)
    peer = FakePeer()
    async with asyncio.timeout(3600):
        running = asyncio.create_task(live.run())
        live.attach(peer)
        try:
            yield live, peer
        finally:
            live.end("hung_up")
            await running


def speech(seconds: float, name: str = "a", pitch_hz: float = 220.0) -> ReplySpeech:
    time = np.arange(round(seconds * RATE)) / RATE
    return ReplySpeech(name, (0.5 * np.sin(2 * np.pi * pitch_hz * time)).astype(np.float32), RATE)


async def passes(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_a_reply_in_small_pieces_is_heard_whole_and_the_mouth_moves_with_it() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await passes(3.1)
            begun = asyncio.get_running_loop().time()
            live.reply(ReplyText("a", "I am very well thank you"))
            for piece in np.split(speech(2.0).samples, 40):
                live.reply(ReplySpeech("a", piece, RATE))
            live.reply(EndReply("a"))
            assert live.state == "thinking"
            await passes(5)
            assert live.describe()["state"] == "idle"
        assert peer.first_sound_s() - begun < 0.6
        loud = np.flatnonzero(peer.sound)
        assert abs(loud[-1] - loud[0] + 1 - 2 * 48_000) < 100
        start = peer.blocks[0][1].at
        for at, mouth in peer.mouths:
            heard = peer.sound[at - start : at - start + 1920]
            if np.count_nonzero(heard) > 1900 and int(loud[0]) + 8000 < at - start:
                assert mouth == 200
        (finished,) = peer.told("avatar.playback.finished")
        assert finished["text_heard"] == "I am very well thank you"
        assert finished["position_ms"] == pytest.approx(2000, abs=3)
        (done,) = peer.told("response.done")
        assert done["response"]["status"] == "completed"
        assert session.orders() == [
            ("playback_started", ""),
            ("playback_finished", "I am very well thank you"),
        ]

    in_virtual_time(main())


def test_an_interrupted_reply_is_told_as_far_as_it_was_heard_and_its_rest_is_dropped() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await passes(3.1)
            live.reply(ReplyText("a", "aaaa bbbb cccc dddd"))
            live.reply(speech(4.0))
            await passes(2.0)
            heard = live.interrupt()
            assert isinstance(heard, Heard)
            assert heard.text == "aaaa bbbb"
            assert 1.4 < heard.position_s < 2.0
            assert live.interrupt() is None
            num_sent = len(peer.blocks)
            live.reply(speech(4.0))  # it was on its way
            live.reply(EndReply("a"))
            await passes(3)
            assert not any(block.sound[240:].any() for _, block in peer.blocks[num_sent:])
            assert live.backlog_s == 0
            live.reply(speech(0.5, "c"))  # a new one
            live.reply(EndReply("c"))
            await passes(3)
            assert any(block.sound.any() for _, block in peer.blocks[num_sent + 100 :])
        finished = peer.told("avatar.playback.finished")
        assert [each["interrupted"] for each in finished] == [True, False]

    in_virtual_time(main())


def test_another_name_begins_another_reply_and_interrupts_the_one_before() -> None:
    async def main() -> None:
        async with call(FakeSession()) as (live, peer):
            await passes(3.1)
            live.reply(ReplyText("a", "first"))
            live.reply(speech(4.0, "a"))
            await passes(2)
            live.reply(ReplyText("b", "second"))
            live.reply(speech(1.0, "b"))
            live.reply(speech(1.0, "a"))  # it was on its way
            live.reply(EndReply("b"))
            live.reply(EndReply("a"))
            await passes(3)
        texts = [each["delta"] for each in peer.told("response.output_audio_transcript.delta")]
        assert texts == ["first", "second"]
        finished = peer.told("avatar.playback.finished")
        assert [each["interrupted"] for each in finished] == [True, False]
        assert finished[1]["position_ms"] == pytest.approx(1000, abs=3)

    in_virtual_time(main())


def test_words_with_times_are_heard_by_them() -> None:
    async def main() -> None:
        async with call(FakeSession()) as (live, _):
            await passes(3.1)
            words = (Word("late", 3.0, 3.5), Word("words", 3.5, 4.0))
            live.reply(ReplyText("a", "late words", words))
            live.reply(speech(4.0))
            await passes(2)
            heard = live.interrupt()
            assert heard is not None
            assert heard.text == ""

    in_virtual_time(main())


def test_a_caller_who_answers_itself_fills_the_answer_that_is_waited_for() -> None:
    async def main() -> None:
        session = FakeSession(answers="client")
        async with call(session) as (live, peer):
            await passes(3.1)
            session.say("speech_started")
            await passes(1)
            session.say("speech_stopped", seconds=0.4)
            session.say("transcript", "How are you?")
            await passes(1)
            assert live.state == "thinking"
            live.reply(ReplyText("a", "Well."))
            live.reply(speech(1.0))
            live.reply(EndReply("a"))
            await passes(4)
        assert len(peer.told("response.created")) == 1  # nothing was interrupted
        assert [kind for kind, _ in session.orders()] == ["playback_started", "playback_finished"]
        (latency,) = peer.told("avatar.latency")
        stages = {stage["name"]: stage["ms"] for stage in latency["stages"]}
        assert stages["chat and voice"] == pytest.approx(1000, abs=25)

    in_virtual_time(main())


def test_a_server_that_answers_is_interrupted_by_the_callers_own_reply() -> None:
    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await passes(3.1)
            live.handle(Say(type="avatar.say", text="Hello."))
            live.reply(ReplyText("a", "Mine."))
            live.reply(speech(1.0))
            live.reply(EndReply("a"))
            await passes(0.1)
            session.reply("Yours", 2.0)  # of the epoch before: nobody hears it
            session.say("end_of_reply", "voice")
            await passes(4)
        texts = [each["delta"] for each in peer.told("response.output_audio_transcript.delta")]
        assert texts == ["Mine."]
        assert session.orders()[:2] == [("text", "Hello."), ("interrupt", "")]

    in_virtual_time(main())


def test_a_turn_of_the_caller_ends_its_own_reply() -> None:
    """audio_llm goes on to the new turn without a word about an answer that is not its own."""

    async def main() -> None:
        session = FakeSession()
        async with call(session) as (live, peer):
            await passes(3.1)
            live.reply(ReplyText("a", "aaaa bbbb"))
            live.reply(speech(8.0))
            await passes(2)
            session.say("speech_started")
            session.say("speech_stopped", seconds=0.4)
            await passes(0.5)
            assert live.backlog_s == 0
            (finished,) = peer.told("avatar.playback.finished")
            assert finished["interrupted"]

    in_virtual_time(main())


def test_a_reply_without_sound_comes_to_nothing() -> None:
    async def main() -> None:
        async with call(FakeSession()) as (live, peer):
            await passes(3.1)
            live.reply(ReplyText("a", "Nothing."))
            live.reply(EndReply("a"))
            await passes(1)
            assert live.state == "idle"
            (done,) = peer.told("response.done")
            assert done["response"]["status"] == "failed"

    in_virtual_time(main())


def test_a_reply_is_no_longer_than_an_answer_may_be() -> None:
    async def main() -> None:
        async with call(FakeSession(), Limits(reply_s=2.0)) as (live, peer):
            await passes(3.1)
            live.reply(speech(1.0))
            live.reply(speech(1.1))
            with pytest.raises(TooLarge, match="2 s"):
                live.reply(speech(1.0))
            live.reply(speech(1.0))  # still on its way: dropped without a word
            live.reply(EndReply("a"))
            await passes(6)
            (finished,) = peer.told("avatar.playback.finished")
            assert finished["position_ms"] == pytest.approx(2100, abs=3)

    in_virtual_time(main())


def test_the_backlog_is_what_no_chunk_has() -> None:
    async def main() -> None:
        async with call(FakeSession()) as (live, _):
            await passes(3.1)
            live.reply(speech(6.0))
            assert live.backlog_s == pytest.approx(6.0, abs=0.01)
            await passes(3.0)
            assert 2.0 < live.backlog_s < 3.6
            live.interrupt()
            assert live.backlog_s == 0

    in_virtual_time(main())


def test_words_are_spread_by_their_letters() -> None:
    assert evenly("a bbb", 2.0) == (Word("a", 0.0, 0.5), Word("bbb", 0.5, 2.0))
    assert evenly("", 2.0) == ()
