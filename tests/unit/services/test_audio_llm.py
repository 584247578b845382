"""What audio_llm remembers, and how it sends."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from avatar.errors import ChannelClosed, DeadlineExceeded
from avatar.media import AudioChunk, Chunk, SessionId, TurnEvent
from avatar.speech.chat import Message
from avatar.transport import OpenRequest
from services.audio_llm.backend import MAX_WAITING, Outbound
from services.audio_llm.conversation import MAX_MESSAGES
from services.audio_llm.memory import Memory

pytestmark = pytest.mark.unit


@dataclass
class Edge:
    """An `Inbound` whose epoch and whose readiness are the test's."""

    epoch: int = 0
    sent: list[Chunk] = field(default_factory=list)
    is_gone: bool = False
    waited_s: float = 0.0
    request: OpenRequest = field(
        default_factory=lambda: OpenRequest(SessionId("s"), 7, "mira", seed=0)
    )

    async def receive(self) -> Chunk | None:
        return None

    async def send(self, chunk: Chunk, /) -> None:
        if self.is_gone:
            raise ChannelClosed("gone")
        self.sent.append(chunk)


async def test_what_is_told_goes_out_in_order_with_rising_numbers() -> None:
    edge = Edge()
    out = Outbound(edge, fence=7)
    out.tell("speech_started", seconds=0.1)
    out.tell("reply", "One.", epoch=0)
    out.play(np.ones(9, np.float32), 24_000, epoch=0)
    out.finish()
    await out.run()
    assert [chunk.stamp.seq for chunk in edge.sent] == [0, 1, 2]
    assert {chunk.stamp.fence for chunk in edge.sent} == {7}
    first, second, third = edge.sent
    assert isinstance(first, TurnEvent)
    assert (first.kind, first.seconds) == ("speech_started", 0.1)
    assert isinstance(second, TurnEvent)
    assert second.text == "One."
    assert isinstance(third, AudioChunk)
    assert third.sample_rate == 24_000


async def test_answers_of_an_older_epoch_are_dropped_and_the_rest_is_not() -> None:
    edge = Edge()
    out = Outbound(edge, fence=1)
    out.tell("reply", "old", epoch=0)
    out.tell("caption", "heard")
    edge.epoch = 2
    out.tell("reply", "new", epoch=2)
    out.finish()
    await out.run()
    assert [(c.text, c.stamp.epoch) for c in edge.sent if isinstance(c, TurnEvent)] == [
        ("heard", 2),
        ("new", 2),
    ]


async def test_a_gateway_that_does_not_read_is_given_up() -> None:
    out = Outbound(Edge(), fence=1)
    for _ in range(MAX_WAITING - 1):
        out.tell("caption", "x")
    with pytest.raises(DeadlineExceeded, match=str(MAX_WAITING)):
        out.tell("caption", "x")
    out.finish()  # there is still a place for the end


async def test_a_gateway_that_has_gone_ends_the_sending() -> None:
    out = Outbound(Edge(is_gone=True), fence=1)
    out.tell("caption", "x")
    with pytest.raises(ChannelClosed):
        async with asyncio.timeout(5):
            await out.run()


def test_questions_without_an_answer_belong_to_the_next_one() -> None:
    memory = Memory()
    memory.asked("What is it?")
    memory.heard("")
    memory.asked("Stop.")
    assert memory.prompt("Where is it?") == ("What is it? Stop. Where is it?", ())
    assert memory.messages == (Message("user", "What is it?"), Message("user", "Stop."))


def test_an_answer_is_remembered_as_far_as_it_was_heard() -> None:
    memory = Memory()
    memory.asked("What is it?")
    memory.heard("It is")
    question, before = memory.prompt("What?")
    assert question == "What?"
    assert before == (Message("user", "What is it?"), Message("assistant", "It is"))


def test_unanswered_questions_do_not_pile_up_without_limit() -> None:
    memory = Memory()
    for _ in range(10):
        memory.asked("word " * 100)
    assert len(memory.prompt("why?")[0]) < 2000


def test_a_long_conversation_is_forgotten_from_its_beginning() -> None:
    memory = Memory()
    for turn in range(40):
        memory.asked(f"q{turn}")
        memory.heard(f"a{turn}")
        assert len(memory.messages) <= MAX_MESSAGES
        assert memory.messages[0].role == "user"
        assert memory.messages[-1] == Message("assistant", f"a{turn}")
