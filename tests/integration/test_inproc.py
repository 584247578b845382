"""The five stages in one process behind the real front doors: small engines, the rest is real."""

import asyncio
import io
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import av
import numpy as np
import pytest

from avatar.errors import ModelServerUnreachable
from avatar.speech.chat import Message
from services.audio_llm.cascade import UNREACHABLE
from services.settings import Limits
from talkingmachines_api.v1 import talk_pb2
from tests.fakes.engines import GatedPainter, Meeting, WatchedPainter
from tests.fakes.graph import Parts, fake_graph, pictures_of, spoken_question, video_of
from tests.fakes.speech import GivenChat

pytestmark = pytest.mark.integration

SENTENCES = "One two three four five six seven. And eight and nine and ten."


async def test_a_text_becomes_a_video_exactly_as_long_as_its_sound() -> None:
    async with fake_graph() as graph:
        events = await graph.say(SENTENCES)
        video, summary = video_of(events), events[-1].summary
        with av.open(io.BytesIO(video), "r") as file:
            sound = [frame.to_ndarray()[0] for frame in file.decode(audio=0)]
            sound_s = np.concatenate(sound).size / file.streams.audio[0].rate
        assert len(pictures_of(video)) == summary.frame_count
        assert summary.frame_count / 25 == pytest.approx(summary.audio_seconds)
        assert abs(summary.frame_count / 25 - sound_s) <= 1 / 25
        assert np.abs(np.concatenate(sound)).max() > 0.1
        assert await graph.leftovers() == {}


async def test_steps_come_in_order_and_progress_only_grows() -> None:
    async with fake_graph() as graph:
        events = await graph.say(SENTENCES)
        kinds = [kind for kind, _ in itertools.groupby(e.WhichOneof("event") for e in events)]
        assert kinds[0] == "reply"
        assert kinds[-2:] == ["video", "summary"]
        ready = [e.chunk_ready for e in events if e.WhichOneof("event") == "chunk_ready"]
        assert [each.chunks_done for each in ready] == list(range(1, len(ready) + 1))
        assert ready[-1].chunks_done == ready[-1].chunks_known
        assert events[-1].summary.frame_count == 12 * len(ready)
        assert 0 < events[-1].summary.first_chunk_seconds <= events[-1].summary.total_seconds


async def test_a_text_is_said_by_the_voice_alone() -> None:
    async with fake_graph() as graph:
        events = await graph.say("Hello.")
        assert list(events[-1].summary.models) == ["voice: tone"]


async def test_a_texts_cues_reach_the_score_worker_with_their_words() -> None:
    painter = WatchedPainter()
    async with fake_graph(parts=Parts(painter=lambda: painter)) as graph:
        painter.told.clear()  # of the video that is made at the start
        events = await graph.say("[nod] One two three four five six [bow] seven eight.")
    (sentence,) = [e.reply.text for e in events if e.WhichOneof("event") == "reply"]
    assert sentence == "One two three four five six seven eight."
    # a word is 0.1 s; a chunk 0.48 s
    assert painter.told == [
        (0, "speaking", ("nod",)),
        (1, "speaking", ("bow",)),
        (2, "idle", ()),
    ]


async def test_a_question_is_heard_answered_and_shown() -> None:
    async with fake_graph() as graph:
        events = await graph.ask(spoken_question())
        transcript = [e.transcript.text for e in events if e.WhichOneof("event") == "transcript"]
        replies = [e.reply.text for e in events if e.WhichOneof("event") == "reply"]
        assert transcript == ["what is it"]
        assert replies == ["One.", "Two."]
        assert len(pictures_of(video_of(events))) == events[-1].summary.frame_count
        assert list(events[-1].summary.models) == [
            "ears: given ears",
            "chat: given chat",
            "voice: tone",
        ]


async def test_two_at_once_get_what_each_would_have_got_alone() -> None:
    async with fake_graph(slots=2) as graph:
        alone = [pictures_of(video_of(await graph.say(text))) for text in (SENTENCES, "Hello.")]
        together = await asyncio.gather(graph.say(SENTENCES), graph.say("Hello."))
        for expected, events in zip(alone, together, strict=True):
            np.testing.assert_array_equal(pictures_of(video_of(events)), expected)
        assert await graph.leftovers() == {}


async def test_the_decoder_works_on_a_chunk_while_the_painter_is_at_the_next() -> None:
    meeting = Meeting()
    parts = Parts(painter=meeting.painter, decoder=meeting.decoder)
    async with fake_graph(slots=1, parts=parts) as graph:
        events = await graph.say(SENTENCES)
        assert events[-1].summary.frame_count >= 24


async def test_the_first_sentence_is_shown_while_the_second_is_still_thought_of() -> None:
    thinking = asyncio.Event()

    class SlowChat(GivenChat):
        async def reply(
            self,
            question: str,
            /,
            *,
            persona: str,
            history: Sequence[Message] = (),
            brisk: bool = False,
        ) -> AsyncGenerator[str]:
            yield "One two three four five six seven eight nine ten."
            await thinking.wait()
            yield "And that is all."

    async with fake_graph(parts=Parts(chat=SlowChat())) as graph:

        async def requests() -> AsyncIterator[talk_pb2.AskRequest]:
            yield talk_pb2.AskRequest(config=talk_pb2.AskConfig())
            yield talk_pb2.AskRequest(audio=spoken_question())

        is_shown_early = False
        async for response in graph.talk.Ask(requests()):
            if response.event.WhichOneof("event") == "chunk_ready":
                is_shown_early |= not thinking.is_set()
                thinking.set()
        assert is_shown_early


async def test_an_avatar_says_that_its_language_model_cannot_be_reached() -> None:
    chat = GivenChat(sentences=[], trouble=ModelServerUnreachable("nobody answers"))
    async with fake_graph(parts=Parts(chat=chat)) as graph:
        events = await graph.ask(spoken_question())
        assert [e.reply.text for e in events if e.WhichOneof("event") == "reply"] == [UNREACHABLE]
        assert events[-1].summary.frame_count > 0


async def test_a_caller_who_goes_away_leaves_nothing_behind() -> None:
    painter = GatedPainter()
    painter.gate.set()
    async with fake_graph(parts=Parts(painter=lambda: painter)) as graph:
        painter.gate.clear()
        painter.reached.clear()
        call = graph.talk.Say(talk_pb2.SayRequest(text=SENTENCES))
        await asyncio.to_thread(painter.reached.wait, 30)
        call.cancel()
        painter.gate.set()
        assert await graph.leftovers() == {}
        assert (await graph.say("Hello."))[-1].summary.frame_count > 0


async def test_a_chunk_that_does_not_come_out_in_time_ends_the_request() -> None:
    painter = GatedPainter()
    painter.gate.set()
    parts = Parts(painter=lambda: painter)
    async with fake_graph(limits=Limits(chunk_s=0.3), parts=parts) as graph:
        painter.gate.clear()
        response = await graph.http.post("/v1/say", json={"text": SENTENCES})
        painter.gate.set()
        assert response.status_code == 504
        assert response.json()["reason"] == "DEADLINE_EXCEEDED"
        assert await graph.leftovers() == {}
