from collections.abc import Iterator
from contextlib import aclosing, closing

import numpy as np
import pytest

from avatar.errors import InvalidInput, ModelServerUnreachable
from avatar.speech.asr import RemoteRecognizer
from avatar.speech.chat import ChatClient, Message, ReplyStyle
from avatar.speech.remote import ModelServer
from avatar.speech.tts import RemoteSynthesizer
from tests.fakes.openai_server import FakeOpenAI, running_openai
from tests.fakes.speech import PlainVoice

pytestmark = pytest.mark.integration

VOICE = PlainVoice()


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[FakeOpenAI]:
    with running_openai() as fake:
        yield fake


@pytest.fixture
def fake(shared_fake: FakeOpenAI) -> FakeOpenAI:
    shared_fake.behaviour, shared_fake.status, shared_fake.finish_reason = "well", 500, "stop"
    shared_fake.deltas = ["Good", " day! I", " am here.", " Bye."]
    shared_fake.requests.clear()
    shared_fake.closed_early.clear()
    return shared_fake


def server_of(fake: FakeOpenAI, timeout_s: float = 20.0) -> ModelServer:
    return ModelServer(fake.base_url, "some-model", "the-key", timeout_s)


async def replies(
    server: ModelServer, style: ReplyStyle | None = None, history: tuple[Message, ...] = ()
) -> list[str]:
    chat = ChatClient(server, style)
    try:
        return [s async for s in chat.reply("Who?", persona="You are Ada.", history=history)]
    finally:
        await chat.close()


async def test_the_answer_comes_in_sentences(fake: FakeOpenAI) -> None:
    assert await replies(server_of(fake)) == ["Good day!", "I am here.", "Bye."]


async def test_the_request_holds_key_model_persona_examples_history_and_limits(
    fake: FakeOpenAI,
) -> None:
    style = ReplyStyle(
        max_tokens=33,
        examples=(Message("user", "e?"), Message("assistant", "E.")),
        extra={"repeat_penalty": 1.1},
    )
    await replies(server_of(fake), style, (Message("user", "h?"), Message("assistant", "H.")))
    (request,) = fake.requests
    assert fake.authorization == "Bearer the-key"
    assert (request["model"], request["max_tokens"], request["stream"]) == ("some-model", 33, True)
    assert request["repeat_penalty"] == 1.1
    assert [(m["role"], m["content"]) for m in request["messages"]] == [
        ("system", "You are Ada."),
        ("user", "e?"),
        ("assistant", "E."),
        ("user", "h?"),
        ("assistant", "H."),
        ("user", "Who?"),
    ]


async def test_an_answer_cut_by_the_limit_ends_with_a_whole_sentence(fake: FakeOpenAI) -> None:
    fake.finish_reason, fake.deltas = "length", ["One. Two. And then we", " went"]
    assert await replies(server_of(fake)) == ["One.", "Two."]
    fake.deltas = ["a sentence without an end"]
    assert await replies(server_of(fake)) == ["a sentence without an end"]


async def test_a_long_answer_stops_after_its_sentences(fake: FakeOpenAI) -> None:
    assert await replies(server_of(fake), ReplyStyle(max_sentences=2)) == [
        "Good day!",
        "I am here.",
    ]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_a_refusing_server_is_unreachable_with_its_status_and_no_detail(
    fake: FakeOpenAI, status: int
) -> None:
    fake.behaviour, fake.status = "status", status
    with pytest.raises(ModelServerUnreachable, match=f"status {status}") as refusal:
        await replies(server_of(fake))
    assert "secret" not in str(refusal.value)
    assert "the-key" not in str(refusal.value)


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    server = ModelServer("http://user:password@127.0.0.1:9/v1", "some-model")
    with pytest.raises(
        ModelServerUnreachable, match=r"some-model \(127\.0\.0\.1\) cannot"
    ) as error:
        await replies(server)
    assert "password" not in str(error.value)


async def test_a_server_that_never_answers_is_unreachable(fake: FakeOpenAI) -> None:
    fake.behaviour = "silent"
    with pytest.raises(ModelServerUnreachable, match=r"within 0\.2 s"):
        await replies(server_of(fake, timeout_s=0.2))


async def test_keep_alives_alone_are_no_answer(fake: FakeOpenAI) -> None:
    fake.behaviour = "keep_alive"
    with pytest.raises(ModelServerUnreachable, match=r"within 0\.3 s"):
        await replies(server_of(fake, timeout_s=0.3))


async def test_an_answer_that_breaks_off_is_unreachable(fake: FakeOpenAI) -> None:
    fake.behaviour = "cut"
    with pytest.raises(ModelServerUnreachable, match="broke off"):
        await replies(server_of(fake))


@pytest.mark.parametrize("behaviour", ["html", "empty"])
async def test_an_answer_without_words_is_unreachable(fake: FakeOpenAI, behaviour: str) -> None:
    fake.behaviour = behaviour  # type: ignore[assignment]  # parametrize gives str
    with pytest.raises(ModelServerUnreachable):
        await replies(server_of(fake))


async def test_closing_the_reply_aborts_the_request(fake: FakeOpenAI) -> None:
    fake.behaviour, fake.deltas = "keep_alive", ["One. Two"]
    chat = ChatClient(server_of(fake))
    async with aclosing(chat.reply("Who?", persona="")) as sentences:
        assert await anext(sentences) == "One."
    assert fake.closed_early.wait(10)
    await chat.close()


async def test_warming_reads_the_persona_for_one_token(fake: FakeOpenAI) -> None:
    chat = ChatClient(server_of(fake))
    await chat.warm("You are Ada.")
    await chat.close()
    assert fake.requests[0]["max_tokens"] == 1
    assert fake.requests[0]["messages"][0]["content"] == "You are Ada."


def test_speech_is_recognised_by_a_server(fake: FakeOpenAI) -> None:
    with closing(RemoteRecognizer(server_of(fake))) as recognizer:
        assert recognizer.transcribe(np.zeros(8000, np.float32)) == "What is it?"
    assert fake.requests == [{"model": "some-model", "seconds": 0.5}]


@pytest.mark.parametrize("behaviour", ["status", "html"])
def test_a_recognizer_without_its_server_is_unreachable(fake: FakeOpenAI, behaviour: str) -> None:
    fake.behaviour = behaviour  # type: ignore[assignment]  # parametrize gives str
    with (
        closing(RemoteRecognizer(server_of(fake))) as recognizer,
        pytest.raises(ModelServerUnreachable),
    ):
        recognizer.transcribe(np.zeros(8000, np.float32))


def test_speech_is_synthesized_by_a_server_at_the_voice_pitch(fake: FakeOpenAI) -> None:
    with closing(RemoteSynthesizer(server_of(fake))) as synthesizer:
        speech = synthesizer.synthesize("**Hi** 😀 there.", PlainVoice(1.0, 0.8))
    assert speech.seconds == pytest.approx(1.25, abs=1e-3)
    assert np.max(np.abs(speech.samples)) == pytest.approx(0.3, abs=0.02)
    assert speech.phonemes == ()
    (request,) = fake.requests
    assert (request["input"], request["speed"]) == ("Hi there.", 1.25)


@pytest.mark.parametrize("behaviour", ["status", "html"])
def test_a_synthesizer_without_its_server_is_unreachable(fake: FakeOpenAI, behaviour: str) -> None:
    fake.behaviour = behaviour  # type: ignore[assignment]  # parametrize gives str
    with (
        closing(RemoteSynthesizer(server_of(fake))) as synthesizer,
        pytest.raises(ModelServerUnreachable),
    ):
        synthesizer.synthesize("Hello.", VOICE)


def test_a_server_is_not_asked_to_speak_nothing(fake: FakeOpenAI) -> None:
    with closing(RemoteSynthesizer(server_of(fake))) as synthesizer, pytest.raises(InvalidInput):
        synthesizer.synthesize("😀", VOICE)
    assert fake.requests == []
