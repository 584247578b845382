"""Live conversations with the real models, in media time: the microphone waits for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import jiwer
import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.cast.characters import CAST
from avatar.media import SPEECH_RATE
from avatar.speech.asr import WhisperRecognizer
from avatar.speech.chat import Chat
from avatar.speech.end_of_turn import words
from avatar.speech.hibari_tts import HibariSynthesizer
from avatar.speech.local_chat import LocalChat
from avatar.speech.spoken_words import timed_words
from avatar.speech.tts import Speech
from avatar.speech.turns import WINDOW_S
from avatar.speech.vad import WINDOW, VoiceDetector
from services.audio_llm.cascade import Cascade
from services.audio_llm.live import CascadeLive
from tests.fakes.live_edge import Caller, calls, settled
from tests.fakes.speech import GivenChat, PlainVoice

pytestmark = pytest.mark.integration

P = ParamSpec("P")
R = TypeVar("R")
QUESTIONS = Path(__file__).parent.parent / "data" / "questions"
CALLERS = [PlainVoice(), PlainVoice(0.93, 0.76), PlainVoice(1.08, 0.85), PlainVoice(1.0, 1.15)]
ANSWER = [
    "The sea covers most of the earth, and nobody has seen all of it.",
    "Its deepest place is as far down as an aeroplane flies high.",
]


class Workers(ThreadPoolExecutor):
    """Threads whose work can be waited for."""

    def __init__(self) -> None:
        super().__init__(2)
        self.at_work: set[Future[object]] = set()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future = super().submit(fn, *args, **kwargs)
        self.at_work.add(future)  # type: ignore[arg-type]  # Future is invariant
        return future

    async def settle(self) -> None:
        """Wait until the engines have done what is due; a chat server is not waited for."""
        await settled()
        while waiting := [each for each in self.at_work if not each.done()]:
            await asyncio.wait([asyncio.wrap_future(each) for each in waiting])
            await settled()
        self.at_work.clear()


@dataclass
class Engines:
    recognizer: WhisperRecognizer
    voice: HibariSynthesizer
    detector: VoiceDetector
    workers: Workers

    def says(self, text: str, caller: int = 0) -> NDArray[np.float32]:
        """Spoken by one of the callers, (S,) at 16 kHz."""
        return self.voice.synthesize(text, CALLERS[caller]).at(SPEECH_RATE)

    @asynccontextmanager
    async def call(self, chat: Chat | None = None) -> AsyncIterator[Caller]:
        cascade = Cascade(
            self.recognizer,
            chat or GivenChat(list(ANSWER)),
            self.voice,
            self.detector,
            self.workers,
        )
        backend = CascadeLive(cascade, max_turn_s=60.0)
        async with calls(backend, settle=self.workers.settle) as (caller,):
            yield caller


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    with Workers() as workers:
        yield Engines(WhisperRecognizer(), HibariSynthesizer(), VoiceDetector(), workers)


def questions() -> list[tuple[str, NDArray[np.float32]]]:
    listed = json.loads((QUESTIONS / "questions.json").read_text())["questions"]
    return [(q["text"], decode((QUESTIONS / q["file"]).read_bytes())) for q in listed]


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * SPEECH_RATE), np.float32)


def windows(*sounds: NDArray[np.float32]) -> NDArray[np.float32]:
    joined = np.concatenate(sounds)
    return np.pad(joined, (0, -len(joined) % WINDOW)).reshape(-1, WINDOW)


def last_sound_s(samples: NDArray[np.float32]) -> float:
    """Until when it is loud."""
    level = np.sqrt(np.convolve(np.square(samples), np.full(160, 1 / 160), "same"))
    return float(np.flatnonzero(level > 0.03 * level.max())[-1]) / SPEECH_RATE


def word_error_rate(said: str, heard: str) -> float:
    return float(jiwer.wer(" ".join(words(said)), " ".join(words(heard))))


async def begin_answer(engines: Engines, caller: Caller) -> None:
    await caller.speak(windows(silence(0.3), engines.says("Tell me about the sea.", 2)))
    await caller.until(lambda c: c.is_playing)


async def test_spoken_questions_are_understood_and_answered_soon(engines: Engines) -> None:
    late = []
    for text, samples in questions():
        async with engines.call() as caller:
            end_s = last_sound_s(samples)
            pieces = windows(samples, silence(1.0))
            for number, piece in enumerate(pieces):
                await caller.speak(piece[None])
                if caller.told("speech_stopped"):
                    late.append((number + 1) * WINDOW_S - end_s)
                    break
            assert word_error_rate(text, caller.texts("transcript")[0]) <= 0.3
            assert caller.texts("reply") == ANSWER
            assert caller.kinds().count("speech_started") == 1
    assert len(late) == 4
    assert max(late) < 0.45
    assert min(late) > 0.2


async def test_a_spoken_question_is_answered_by_the_local_model(engines: Engines) -> None:
    chat = await asyncio.to_thread(LocalChat)
    try:
        async with engines.call(chat) as caller:
            text, samples = questions()[0]
            await caller.speak(windows(samples, silence(0.5)))
            assert word_error_rate(text, caller.texts("transcript")[0]) <= 0.3
            async with asyncio.timeout(60):
                await caller.heard_kind("end_of_reply")
            assert 1 <= len(caller.texts("reply")) <= 5
            assert "Mira" in " ".join(caller.texts("reply"))
            for event in caller.told("reply"):
                assert " ".join(word.text for word in event.words) == event.text
    finally:
        await chat.close()


@pytest.mark.parametrize("caller_voice", range(len(CALLERS)))
@pytest.mark.parametrize("sound", ["mm-hm", "Uh-huh.", "Yeah.", "Okay."])
async def test_assent_does_not_interrupt(engines: Engines, sound: str, caller_voice: int) -> None:
    async with engines.call() as caller:
        await begin_answer(engines, caller)
        await caller.speak(windows(silence(0.5), engines.says(sound, caller_voice)))
        await caller.until(Caller.has_heard_out)
        assert "barge_in" not in caller.kinds()


async def test_a_cough_a_knock_and_noise_do_not_interrupt(engines: Engines) -> None:
    chance = np.random.default_rng(0)
    time_s = np.arange(SPEECH_RATE) / SPEECH_RATE
    burst = chance.normal(0, 0.3, SPEECH_RATE)
    cough = burst * np.exp(-np.square((time_s - 0.3) / 0.1))
    knock = burst * np.exp(-60 * np.maximum(0, time_s - 0.2)) * (time_s > 0.2)
    async with engines.call() as caller:
        await begin_answer(engines, caller)
        for sound in (cough, knock, 0.1 * burst):
            await caller.speak(windows(sound.astype(np.float32), silence(0.3)))
        await caller.until(Caller.has_heard_out)
        assert "barge_in" not in caller.kinds()
        assert len(caller.texts("transcript")) == 1


@pytest.mark.parametrize("caller_voice", range(len(CALLERS)))
@pytest.mark.parametrize("sound", ["Stop.", "Wait.", "No.", "Hold on, tell me about the moon."])
async def test_a_word_that_means_it_interrupts(
    engines: Engines, sound: str, caller_voice: int
) -> None:
    async with engines.call() as caller:
        await begin_answer(engines, caller)
        speech = engines.says(sound, caller_voice)
        await caller.speak(windows(silence(0.5), speech, silence(0.3)))
        assert "barge_in" in caller.kinds()
        assert caller.num_interrupts == 1
        await caller.be_silent(1.5)
        heard = caller.texts("transcript")[-1]
        assert word_error_rate(sound, heard) <= 0.35


@pytest.mark.parametrize("pause_s", [0.35, 0.7])
async def test_two_sentences_with_a_pause_are_both_answered(
    engines: Engines, pause_s: float
) -> None:
    """A pause that is taken for the end costs nothing: what follows belongs to the question."""
    chat = GivenChat(list(ANSWER))
    async with engines.call(chat) as caller:
        caller.plays = False  # no sound has reached the caller yet
        first, second = engines.says("I live in Paris."), engines.says("What should I see there?")
        first = first[: round(last_sound_s(first) * SPEECH_RATE)]
        await caller.speak(windows(first, silence(pause_s), second, silence(1.0)))
        assert ("barge_in" in caller.kinds()) == (pause_s > 0.5)
        assert word_error_rate("I live in Paris. What should I see there?", chat.asked[-1][0]) < 0.2
        assert caller.kinds()[-1] == "end_of_reply"


@pytest.mark.parametrize(
    "first", ["I would like to know, um,", "What is your favourite season, and,"]
)
async def test_a_pause_in_the_middle_of_a_sentence_does_not_end_the_turn(
    engines: Engines, first: str
) -> None:
    async with engines.call() as caller:
        beginning = engines.says(first, 1)
        beginning = beginning[: round(last_sound_s(beginning) * SPEECH_RATE)]
        rest = engines.says("why do you like it?", 1)
        await caller.speak(windows(beginning, silence(0.7), rest, silence(1.0)))
        assert len(caller.texts("transcript")) == 1
        assert caller.texts("transcript")[0].lower().endswith("why do you like it?")


async def test_the_avatars_own_voice_at_minus_20_db_does_not_interrupt_it(
    engines: Engines,
) -> None:
    async with engines.call() as caller:
        await begin_answer(engines, caller)
        lag = silence(0.25)
        avatar = np.concatenate([each.at(SPEECH_RATE) for each in answer_speech(engines)])
        echo = 10 ** (-20 / 20) * avatar
        await caller.speak(windows(lag, echo.astype(np.float32)))
        await caller.until(Caller.has_heard_out)
        await caller.be_silent(1.5)
        assert "barge_in" not in caller.kinds()
        assert len(caller.texts("transcript")) == 1


def answer_speech(engines: Engines) -> list[Speech]:
    return [engines.voice.synthesize(text, CAST[0].voice) for text in ANSWER]


async def test_the_avatar_is_interrupted_in_spite_of_its_echo(engines: Engines) -> None:
    async with engines.call() as caller:
        await begin_answer(engines, caller)
        avatar = np.concatenate([each.at(SPEECH_RATE) for each in answer_speech(engines)])
        mixed = 0.1 * np.concatenate([silence(0.25), avatar])
        spoken = engines.says("No, please tell me about the moon.", 2)
        at = 2 * SPEECH_RATE
        mixed[at : at + len(spoken)] += spoken
        await caller.speak(windows(mixed.astype(np.float32)[: at + len(spoken)], silence(1.5)))
        assert "barge_in" in caller.kinds()
        assert "moon" in caller.texts("transcript")[-1].lower()


def test_words_sound_when_they_are_said_to(engines: Engines) -> None:
    """What is heard up to a word's end holds that word, and not the one after the next."""
    text = "The old clock on the wall has always been ten minutes slow."
    speech = engines.voice.synthesize(text, CALLERS[0])
    told = timed_words(text, speech)
    assert [word.text for word in told] == text.split()
    for word, after in zip(told[4::3], told[6::3], strict=False):
        samples = speech.samples[: round((word.end_s + 0.05) * speech.sample_rate)]
        heard = words(
            engines.recognizer.transcribe(Speech(samples, speech.sample_rate).at(SPEECH_RATE))
        )
        assert words(word.text)[0] in heard
        assert words(after.text)[0] not in heard
