import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt  # type: ignore[import-untyped]  # has no types

from avatar.audio.files import decode
from avatar.audio.loudness import rms_dbfs
from avatar.audio.resample import resample
from avatar.errors import CorruptFile, InvalidInput, NoSpeech
from avatar.media import SPEECH_RATE
from avatar.speech.asr import WhisperRecognizer
from avatar.speech.chat import Message, ScriptedChat
from avatar.speech.hibari_tts import HibariSynthesizer
from avatar.speech.local_chat import LocalChat, open_local_chat
from avatar.speech.text import MAX_SENTENCE_CHARACTERS
from avatar.speech.tts import Speech
from avatar.speech.vad import WINDOW, VoiceDetector
from bench.answers import word_error_rate
from services.audio_llm.cascade import Cascade, Heard, Said
from services.audio_llm.conversation import Conversation
from tests.fakes.speech import PlainVoice

pytestmark = pytest.mark.integration

QUESTIONS = Path(__file__).parent.parent / "data" / "questions"
VOICE = PlainVoice()
PERSONA = "You are Ada, a friendly engineer. Answer in one or two short sentences."
VOWELS_AND_N = "aeiou\u0251\u00e6\u0259\u025b\u026a\u0254\u028a\u028cn"


@dataclass(frozen=True)
class Question:
    text: str
    samples: NDArray[np.float32]


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    listed = json.loads((QUESTIONS / "questions.json").read_text())["questions"]
    return [Question(q["text"], decode((QUESTIONS / q["file"]).read_bytes())) for q in listed]


@pytest.fixture(scope="module")
def synthesizer() -> HibariSynthesizer:
    return HibariSynthesizer()


@pytest.fixture(scope="module")
def recognizer() -> WhisperRecognizer:
    return WhisperRecognizer()


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector()


# --- hearing ---------------------------------------------------------------------------------


def test_spoken_questions_are_understood(
    questions: list[Question], recognizer: WhisperRecognizer, detector: VoiceDetector
) -> None:
    assert len(questions) >= 3
    heard = [recognizer.transcribe(detector.trimmed(q.samples)) for q in questions]
    assert word_error_rate([q.text for q in questions], heard) <= 0.15
    assert all(
        word_error_rate(q.text, text) <= 0.3 for q, text in zip(questions, heard, strict=True)
    )


def test_a_recording_longer_than_whispers_window_is_understood(
    synthesizer: HibariSynthesizer, recognizer: WhisperRecognizer
) -> None:
    text = (
        "Last summer my sister and I walked along the old river that runs behind our village. "
        "The water was low because it had not rained for many weeks. We found a small wooden "
        "boat that somebody had left under the trees. It had a hole in the floor, so we could "
        "not use it. A man with a brown dog told us that it belonged to a fisherman who moved "
        "to the city. We asked him whether there were still any fish. He laughed and said that "
        "there were more fish than people. In the evening we made a fire and cooked potatoes. "
        "I remember the smell of smoke and the sound of frogs."
    )
    speech = synthesizer.synthesize(text, VOICE)
    assert speech.seconds > 30
    assert word_error_rate(text, recognizer.transcribe(speech.at(SPEECH_RATE))) <= 0.15


def test_speech_is_found_where_it_is(questions: list[Question], detector: VoiceDetector) -> None:
    pause = np.zeros(2 * SPEECH_RATE, np.float32)
    samples = np.concatenate([pause, questions[0].samples, pause])
    (first, *_, last) = detector.activity(samples) * 2
    assert abs(first.start / SPEECH_RATE - 2.3) < 0.15
    assert abs(len(samples) - last.stop - 2.3 * SPEECH_RATE) < 0.4 * SPEECH_RATE
    trimmed = detector.trimmed(samples)
    assert len(trimmed) < len(questions[0].samples) + 4 * WINDOW
    assert 0.8 < detector.speech_seconds(samples) < 2.4


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "click", "nothing"])
def test_what_is_no_speech_is_not_taken_for_it(detector: VoiceDetector, kind: str) -> None:
    time_s = np.arange(2 * SPEECH_RATE) / SPEECH_RATE
    sounds = {
        "silence": 0 * time_s,
        "noise": np.random.default_rng(0).normal(0, 0.1, len(time_s)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_s),
        "click": np.where(np.abs(time_s - 1) < 0.005, 0.9, 0.0),
        "nothing": time_s[:0],
    }
    samples = sounds[kind].astype(np.float32)
    assert not detector.has_speech(samples)
    assert detector.trimmed(samples).size == 0


# --- speaking --------------------------------------------------------------------------------


def test_what_is_spoken_is_understood_in_every_voice(
    synthesizer: HibariSynthesizer, recognizer: WhisperRecognizer
) -> None:
    text = "The weather is lovely today, so we should walk along the river."
    for voice in (VOICE, PlainVoice(0.93, 0.76), PlainVoice(1.08, 0.85), PlainVoice(1.0, 1.15)):
        speech = synthesizer.synthesize(text, voice)
        assert word_error_rate(text, recognizer.transcribe(speech.at(SPEECH_RATE))) <= 0.1, voice
        assert -40 < rms_dbfs(speech.samples) < -15
        assert np.max(np.abs(speech.samples)) <= 1.0


def test_the_same_text_is_spoken_the_same(synthesizer: HibariSynthesizer) -> None:
    first, second = (synthesizer.synthesize("Same again.", VOICE) for _ in range(2))
    assert np.array_equal(first.samples, second.samples)


def test_phonemes_are_in_order_and_within_the_speech(synthesizer: HibariSynthesizer) -> None:
    for voice in (VOICE, PlainVoice(1.1, 0.8)):
        speech = synthesizer.synthesize("Hello there. How now, brown cow? Bye!", voice)
        assert "".join(p.symbol for p in speech.phonemes).startswith("həloʊðɛɹ")
        starts = [p.start_s for p in speech.phonemes]
        assert starts == sorted(starts)
        assert all(0 <= p.start_s < p.end_s <= speech.seconds for p in speech.phonemes)


@pytest.mark.parametrize("voice", [VOICE, PlainVoice(1.25, 1.0), PlainVoice(0.93, 0.76)])
def test_phoneme_times_are_the_times_of_the_sounds(
    synthesizer: HibariSynthesizer, voice: PlainVoice
) -> None:
    """A hiss is heard by its energy above 4 kHz: its edges lie within 25 ms of the times given."""
    errors = []
    for text in (
        "She sells sea shells by the sea shore.",
        "Six sisters sit in silence and see the stars.",
        "This is a nice place to sing a song.",
        "Some days the ocean is as smooth as glass.",
    ):
        speech = synthesizer.synthesize(text, voice)
        errors += hiss_errors(speech, above_hertz=4500 * voice.pitch)
    assert len(errors) >= 12
    assert abs(float(np.median(errors))) <= 0.025


def hiss_errors(speech: Speech, above_hertz: float) -> list[float]:
    """Seconds from the given start of each hiss after a vowel to where it is heard."""
    hop = speech.sample_rate // 200
    high = sosfiltfilt(
        butter(4, above_hertz, "high", fs=speech.sample_rate, output="sos"), speech.samples
    )
    low = sosfiltfilt(
        butter(4, [80, 1000], "band", fs=speech.sample_rate, output="sos"), speech.samples
    )
    num = len(high) // hop

    def level(band: NDArray[Any]) -> NDArray[Any]:
        return np.log10(np.square(band[: num * hop].reshape(num, hop)).mean(1) + 1e-6)

    hiss = level(high) - level(low)
    errors = []
    for before, sound in zip(speech.phonemes[:-1], speech.phonemes[1:], strict=True):
        adjacent = sound.start_s - before.end_s < 0.01
        at = round(sound.start_s * 200)
        if sound.symbol in "szʃʧ" and before.symbol[-1] in VOWELS_AND_N and adjacent:
            steps = {
                shift: hiss[at + shift : at + shift + 6].mean()
                - hiss[at + shift - 6 : at + shift].mean()
                for shift in range(-16, 17)
                if 6 <= at + shift <= num - 6
            }
            if steps:
                errors.append(max(steps, key=lambda shift: float(steps[shift])) / 200)
    return errors


@pytest.mark.parametrize(
    "text",
    [
        "In 1984, 3.5% of 1,250 people paid $9.99 at 7:30 pm on 12/03/2024.",
        "Dr. Smith vs. Mr. Jones, i.e. e.g. etc. No. 5, St. James's, U.S.A., NASA, Ph.D.",
        "**Wow** 😀👍🏽 `code` # head [x](/ʤʤʤ/) | a | b | https://example.org/?q=1&r=2",
        "a" * 300,
        "supercalifragilisticexpialidocious " * 50,
        "Ünïcödé naïve café, Привет and 你好 together",
        "?!... -- hello -- ...!?",
        "x\x00y\x07z",
        "10^5 ≈ ∑ √2 ½ ² € ₿ ™",
        "WHAT IS THIS SHOUTING ABOUT",
        "'\"“\u2018(hi)\u2019”\"'",
    ],
)
def test_odd_texts_are_spoken(synthesizer: HibariSynthesizer, text: str) -> None:
    speech = synthesizer.synthesize(text, VOICE)
    assert speech.seconds > 0.3
    assert np.all(np.isfinite(speech.samples))
    assert rms_dbfs(speech.samples) > -40


@pytest.mark.parametrize("text", ["😀", "你好", "…", "** **"])
def test_texts_without_an_english_word_are_refused(
    synthesizer: HibariSynthesizer, text: str
) -> None:
    with pytest.raises(InvalidInput, match="word"):
        synthesizer.synthesize(text, VOICE)


def test_a_corrupt_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("hibari")
    assert spec is not None
    assert spec.origin is not None
    broken = shutil.copytree(Path(spec.origin).parent, tmp_path / "hibari")
    with (broken / "assets" / "hibari.onnx").open("r+b") as model:
        model.seek(5000)
        model.write(b"\xff")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hibari")
    with pytest.raises(CorruptFile, match="pip install --force-reinstall hibari-tts"):
        HibariSynthesizer()


# --- answering -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cascade_parts(
    recognizer: WhisperRecognizer, synthesizer: HibariSynthesizer, detector: VoiceDetector
) -> Iterator[tuple[WhisperRecognizer, HibariSynthesizer, VoiceDetector, ThreadPoolExecutor]]:
    with ThreadPoolExecutor(2) as executor:
        yield recognizer, synthesizer, detector, executor


@pytest.fixture
async def chat() -> AsyncIterator[LocalChat]:
    chat = await asyncio.to_thread(LocalChat)
    yield chat
    await chat.close()


async def test_a_spoken_question_is_answered_by_the_local_model(
    chat: LocalChat,
    cascade_parts: tuple[WhisperRecognizer, HibariSynthesizer, VoiceDetector, ThreadPoolExecutor],
    questions: list[Question],
) -> None:
    recognizer, synthesizer, detector, executor = cascade_parts
    cascade = Cascade(recognizer, chat, synthesizer, detector, executor)
    await cascade.warm([PERSONA], VOICE)
    conversation = Conversation(cascade, PERSONA, VOICE)
    for question in questions[:2]:
        pieces = [piece async for piece in conversation.answer(question.samples)]
        assert isinstance(pieces[0], Heard)
        assert word_error_rate(question.text, pieces[0].text) <= 0.3
        said = [piece for piece in pieces[1:] if isinstance(piece, Said)]
        assert 1 <= len(said) <= 3
        assert all(piece.cause is None and piece.speech.seconds > 0.2 for piece in said)
        assert all(len(piece.text) <= MAX_SENTENCE_CHARACTERS for piece in said)
    assert len(conversation.history) == 4
    assert cascade.labels[1] == "chat: SmolLM2-135M-Instruct (local)"


async def test_a_recording_without_speech_is_refused(
    chat: LocalChat,
    cascade_parts: tuple[WhisperRecognizer, HibariSynthesizer, VoiceDetector, ThreadPoolExecutor],
) -> None:
    recognizer, synthesizer, detector, executor = cascade_parts
    cascade = Cascade(recognizer, chat, synthesizer, detector, executor)
    with pytest.raises(NoSpeech):
        await anext(cascade.answer(np.zeros(SPEECH_RATE, np.float32), (), PERSONA, VOICE))


async def test_two_questions_at_once_are_both_answered(chat: LocalChat) -> None:
    async def ask(question: str) -> list[str]:
        return [sentence async for sentence in chat.reply(question, persona=PERSONA)]

    answers = await asyncio.gather(ask("What is your name?"), ask("Why is the sky blue?"))
    assert all(answers)


async def test_the_local_model_remembers_within_its_context(chat: LocalChat) -> None:
    history = (Message("user", "word " * 40), Message("assistant", "I see. " * 20)) * 2
    assert [s async for s in chat.reply("What is rain?", persona=PERSONA, history=history)]


async def test_an_abandoned_answer_frees_the_local_model(chat: LocalChat) -> None:
    for _ in range(4):
        async with aclosing(chat.reply("Tell me a long story.", persona=PERSONA)) as sentences:
            await anext(sentences)
    began = time.monotonic()
    assert [s async for s in chat.reply("Hello!", persona=PERSONA)]
    assert time.monotonic() - began < 20


async def test_the_local_server_answers_only_who_knows_its_key(chat: LocalChat) -> None:
    stranger = openai.AsyncOpenAI(
        base_url=chat.base_url,
        api_key="guess",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    )
    with pytest.raises(openai.AuthenticationError):
        await stranger.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "Hi"}]
        )
    await stranger.close()


async def test_without_the_model_package_a_fixed_answer_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("avatar.speech.local_chat._SMOLLM2_PACKAGE", "no_such_package")
    chat = open_local_chat()
    assert isinstance(chat, ScriptedChat)
    first, *_ = [s async for s in chat.reply("Hello?", persona=PERSONA)]
    assert "No language model is installed" in first
    assert "no language model" in chat.label


def test_resampling_hides_no_question(
    questions: list[Question], recognizer: WhisperRecognizer
) -> None:
    telephone = resample(resample(questions[0].samples, SPEECH_RATE, 8000), 8000, SPEECH_RATE)
    assert word_error_rate(questions[0].text, recognizer.transcribe(telephone)) <= 0.3
