from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.errors import InvalidInput, ModelServerUnreachable, NoSpeech, TooLarge
from avatar.speech.chat import Message
from avatar.speech.vad import VadState
from services.audio_llm.cascade import UNREACHABLE, Cascade, Heard, Said
from services.audio_llm.conversation import Conversation, recent
from tests.fakes.speech import GivenChat, GivenRecognizer, PlainVoice, ToneSynthesizer

pytestmark = pytest.mark.unit

VOICE = PlainVoice()
QUESTION = np.ones(16_000, np.float32)


class HalfDetector:
    """Takes the second half for speech, and silence for silence."""

    def trimmed(self, samples: NDArray[np.float32], /) -> NDArray[np.float32]:
        return samples[len(samples) // 2 :] if samples.any() else samples[:0]

    def init_state(self) -> VadState:
        empty = np.zeros(0, np.float32)
        return VadState(empty, empty, empty)

    def step(self, window: NDArray[np.float32], state: VadState, /) -> tuple[float, VadState]:
        return float(window.any()), state


class Parts:
    def __init__(self) -> None:
        self.recognizer, self.chat = GivenRecognizer(), GivenChat()
        self.synthesizer = ToneSynthesizer()
        self.cascade = Cascade(
            self.recognizer,
            self.chat,
            self.synthesizer,
            HalfDetector(),
            ThreadPoolExecutor(1),
        )
        self.conversation = Conversation(self.cascade, "You are Ada.", VOICE)


@pytest.fixture
def parts() -> Parts:
    return Parts()


async def test_a_question_is_heard_then_answered_sentence_by_sentence(parts: Parts) -> None:
    pieces = [piece async for piece in parts.conversation.answer(QUESTION)]
    assert pieces[0] == Heard("what is it")
    assert [p.text for p in pieces[1:] if isinstance(p, Said)] == ["One.", "Two."]
    assert all(p.speech.seconds > 0 for p in pieces[1:] if isinstance(p, Said))
    assert parts.chat.asked == [("what is it", "You are Ada.", ())]
    assert parts.recognizer.heard == [8000]


async def test_the_first_sentence_is_spoken_before_the_second_is_thought(parts: Parts) -> None:
    async with aclosing(parts.conversation.reply("why?")) as pieces:
        first = await anext(pieces)
        assert isinstance(first, Said)
        assert parts.synthesizer.spoken == ["One."]


async def test_silence_is_no_speech_and_is_not_transcribed(parts: Parts) -> None:
    with pytest.raises(NoSpeech, match=r"1\.0 s"):
        _ = [piece async for piece in parts.conversation.answer(0 * QUESTION)]
    assert parts.recognizer.heard == []


@pytest.mark.parametrize("words", ["", " ", "...", "♪♪"])
async def test_sounds_without_words_are_no_speech(parts: Parts, words: str) -> None:
    parts.recognizer.words = words
    with pytest.raises(NoSpeech):
        _ = [piece async for piece in parts.conversation.answer(QUESTION)]


async def test_the_avatar_says_that_its_model_cannot_be_reached(parts: Parts) -> None:
    parts.chat.sentences = []
    parts.chat.trouble = ModelServerUnreachable("nobody at 127.0.0.1")
    heard, said = [piece async for piece in parts.conversation.answer(QUESTION)]
    assert isinstance(said, Said)
    assert (said.text, said.cause) == (UNREACHABLE, parts.chat.trouble)
    assert said.speech.seconds > 0
    assert parts.conversation.history == ()


async def test_what_was_said_before_the_server_died_stays(parts: Parts) -> None:
    parts.chat.trouble = ModelServerUnreachable("gone")
    said = [piece async for piece in parts.conversation.reply("why?")]
    assert [p.text for p in said if isinstance(p, Said)] == ["One.", "Two.", UNREACHABLE]
    assert parts.conversation.history[-1] == Message("assistant", "One. Two.")


async def test_sentences_without_a_word_are_left_out(parts: Parts) -> None:
    parts.chat.sentences = ["😀", "Hello!", "***"]
    said = [piece async for piece in parts.conversation.reply("why?")]
    assert [p.text for p in said if isinstance(p, Said)] == ["Hello!"]


async def test_an_answer_without_any_word_is_owned_up_to(parts: Parts) -> None:
    parts.chat.sentences = ["😀"]
    (said,) = [piece async for piece in parts.conversation.reply("why?")]
    assert isinstance(said, Said)
    assert said.text == UNREACHABLE


async def test_a_text_is_said_as_it_stands(parts: Parts) -> None:
    said = [piece async for piece in parts.conversation.say("Hello. I am **Ada**. 😀")]
    assert [p.text for p in said if isinstance(p, Said)] == ["Hello.", "I am **Ada**."]
    assert parts.chat.asked == []


@pytest.mark.parametrize(
    ("text", "error"),
    [("", InvalidInput), ("😀 ***", InvalidInput), ("a" * 2001, TooLarge)],
)
async def test_what_cannot_be_said_is_refused(
    parts: Parts, text: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _ = [piece async for piece in parts.conversation.say(text)]


async def test_an_empty_question_is_refused_unasked(parts: Parts) -> None:
    with pytest.raises(InvalidInput):
        _ = [piece async for piece in parts.conversation.reply(" ")]
    assert parts.chat.asked == []


async def test_the_next_question_comes_with_the_turns_before_it(parts: Parts) -> None:
    _ = [piece async for piece in parts.conversation.answer(QUESTION)]
    _ = [piece async for piece in parts.conversation.reply("and then?")]
    turn = (Message("user", "what is it"), Message("assistant", "One. Two."))
    assert parts.chat.asked[1] == ("and then?", "You are Ada.", turn)


async def test_an_interrupted_turn_is_aborted_and_only_what_was_said_is_remembered(
    parts: Parts,
) -> None:
    async with aclosing(parts.conversation.answer(QUESTION)) as pieces:
        await anext(pieces)
        await anext(pieces)
    assert parts.chat.aborted == 1
    assert parts.conversation.history == (
        Message("user", "what is it"),
        Message("assistant", "One."),
    )


async def test_warming_uses_each_engine_and_every_persona(parts: Parts) -> None:
    await parts.cascade.warm(["a", "b"], VOICE)
    assert parts.chat.warmed == ["a", "b"]
    assert len(parts.recognizer.heard) == len(parts.synthesizer.spoken) == 1


async def test_warming_does_without_a_chat_server(parts: Parts) -> None:
    parts.chat.trouble = ModelServerUnreachable("not up yet")
    await parts.cascade.warm(["a"], VOICE)
    assert len(parts.synthesizer.spoken) == 1


def test_the_labels_name_who_hears_answers_and_speaks(parts: Parts) -> None:
    assert parts.cascade.labels == ("ears: given ears", "chat: given chat", "voice: tone")


def turns(count: int) -> tuple[Message, ...]:
    return tuple(
        message
        for index in range(count)
        for message in (Message("user", f"q{index}"), Message("assistant", f"a{index}"))
    )


def test_turns_are_remembered_until_there_are_too_many() -> None:
    assert recent(turns(8)) == turns(8)
    assert recent(turns(9)) == turns(9)[-4:]


def test_after_a_text_that_was_only_said_memory_begins_with_the_user() -> None:
    history = (*turns(8), Message("assistant", "said"))
    assert recent(history) == (*turns(8)[-2:], Message("assistant", "said"))


def test_what_is_too_long_to_keep_is_forgotten() -> None:
    long = Message("assistant", "x" * 2990)
    assert recent((Message("user", "why?"), long)) == (Message("user", "why?"), long)
    assert recent((*turns(3), Message("user", "why?"), long)) == ()


async def test_cues_are_shown_not_said(parts: Parts) -> None:
    parts.chat.sentences = ["[smile] Good to see you [nod] again.", "[look left]", "There it is."]
    said = [p async for p in parts.conversation.reply("hm?") if isinstance(p, Said)]
    assert [p.text for p in said] == ["Good to see you again.", "There it is."]
    assert parts.synthesizer.spoken == ["Good to see you again.", "There it is."]
    assert [[cue.name for cue in p.cues] for p in said] == [["smile", "nod"], ["look_left"]]
    smile, nod = said[0].cues
    assert smile.start_s < 0.05
    assert 0.2 < nod.start_s < 0.5
    assert "[" not in parts.conversation.history[-1].text


async def test_who_greets_smiles_unless_told_otherwise(parts: Parts) -> None:
    parts.chat.sentences = ["Hello, and welcome.", "Good morning [bow], all.", "It is six."]
    said = [p async for p in parts.conversation.reply("hm?") if isinstance(p, Said)]
    assert [[cue.name for cue in p.cues] for p in said] == [["smile"], ["bow"], []]


async def test_a_text_of_cues_alone_cannot_be_said(parts: Parts) -> None:
    with pytest.raises(InvalidInput, match="no word"):
        _ = [piece async for piece in parts.conversation.say("[smile] [nod]")]
