"""One turn as a cascade: voice detection, recognition, chat, and speech sentence by sentence."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from avatar.errors import AvatarError, InvalidInput, ModelServerUnreachable, NoSpeech
from avatar.media import SPEECH_RATE, TimedCue
from avatar.speech.asr import Recognizer
from avatar.speech.chat import Chat, Message
from avatar.speech.cues import natural_cues, take_cues, timed_cues, written
from avatar.speech.listening import FILLER_PROMPT
from avatar.speech.spoken_words import timed_words
from avatar.speech.text import checked, sentences, speakable
from avatar.speech.tts import Speech, Synthesizer, Voice
from avatar.speech.vad import Detector
from avatar.telemetry.logging import get_logger

log = get_logger(__name__)
R = TypeVar("R")

UNREACHABLE = "I cannot reach my language model right now. Please try again in a moment."
"""What the avatar says when its chat server does not answer."""
SHORT_SOUND_S = 1.0
"""A sound that may well be a hum; with the silence around it."""


@dataclass(frozen=True)
class Heard:
    """What was asked."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class Said:
    """One sentence of the answer with its speech.

    `cues` are no part of the text; `cause` is why it is not the model's own.
    """

    text: str = field(repr=False)
    speech: Speech = field(repr=False)
    cause: AvatarError | None = None
    cues: tuple[TimedCue, ...] = ()


TurnPiece = Heard | Said


class Cascade:
    """The engines of a turn; holds no conversation, so that many may share it."""

    def __init__(
        self,
        recognizer: Recognizer,
        chat: Chat,
        synthesizer: Synthesizer,
        detector: Detector,
        executor: Executor,
    ) -> None:
        """`executor`: threads in which the engines may block."""
        self._recognizer, self._chat = recognizer, chat
        self._synthesizer, self._detector = synthesizer, detector
        self._executor = executor

    @property
    def detector(self) -> Detector:
        return self._detector

    @property
    def labels(self) -> tuple[str, str, str]:
        """Which models hear, answer and speak, for people to read."""
        return (
            f"ears: {self._recognizer.label}",
            f"chat: {self._chat.label}",
            f"voice: {self._synthesizer.label}",
        )

    async def warm(self, personas: Iterable[str], voice: Voice) -> None:
        """Use every engine once, so that the first question is as fast as the others.

        A chat server that cannot be reached is logged, not raised: it may come later.
        """
        speech = await self._run(self._synthesizer.synthesize, "Hello there, how are you?", voice)
        samples = speech.at(SPEECH_RATE)
        await self._run(self._detector.trimmed, samples)
        await self._run(self._recognizer.transcribe, samples)
        try:
            for persona in personas:
                await self._chat.warm(persona)
        except ModelServerUnreachable as error:
            log.warning("chat_unreachable", cause=str(error))

    async def understand(self, samples: NDArray[np.float32]) -> str:
        """The words in (S,) 16 kHz samples of a live turn; of a short sound, hums as well.

        Raises:
            AvatarError: The recogniser does not answer, or failed.
        """
        # longer speech is written down twice with it: "Do you like it? Do you like it"
        hint = FILLER_PROMPT if len(samples) <= SHORT_SOUND_S * SPEECH_RATE else ""
        try:
            return await self._run(self._recognizer.transcribe, samples, hint)
        except AvatarError:
            raise
        except Exception as error:
            log.exception("recognizer_failed")
            raise AvatarError("the recogniser failed; the server's log says why") from error

    async def answer(
        self,
        question: NDArray[np.float32],
        history: Sequence[Message],
        persona: str,
        voice: Voice,
    ) -> AsyncGenerator[TurnPiece]:
        """Hear (S,) 16 kHz samples and answer them: `Heard`, then the sentences.

        Raises:
            NoSpeech: Nobody speaks in it, or nothing can be understood.
            ModelServerUnreachable: The server that hears or speaks does not answer.
        """
        text = await self._hear(question)
        yield Heard(text)
        async with aclosing(self.reply(text, history, persona, voice)) as pieces:
            async for piece in pieces:
                yield piece

    async def reply(
        self,
        question: str,
        history: Sequence[Message],
        persona: str,
        voice: Voice,
        *,
        brisk: bool = False,
    ) -> AsyncGenerator[Said]:
        """Answer a text, sentence by sentence; says so when the chat server does not answer.

        `brisk`: a long first sentence comes in two pieces, so that the first can be heard sooner.

        Raises:
            InvalidInput: There is nothing in the question.
        """
        question = checked(question)
        said_any, waiting = False, ""
        try:
            replies = self._chat.reply(question, persona=persona, history=history, brisk=brisk)
            async with aclosing(replies) as texts:
                async for text in texts:
                    said, waiting = await self._say(waiting + text, voice)
                    if said is not None:
                        yield said
                        said_any = True
            if not said_any:
                raise ModelServerUnreachable(f"{self._chat.label} answered with no word")
        except ModelServerUnreachable as error:
            log.warning("chat_unreachable", cause=str(error), mid_answer=said_any)
            speech = await self._run(self._synthesizer.synthesize, UNREACHABLE, voice)
            yield Said(UNREACHABLE, speech, error)

    async def say(self, text: str, voice: Voice) -> AsyncGenerator[Said]:
        """Say a text as it stands, sentence by sentence.

        Raises:
            TooLarge: It has more than 2000 characters.
            InvalidInput: There is nothing to speak in it.
        """
        said_any, waiting = False, ""
        for sentence in sentences(checked(text)):
            said, waiting = await self._say(waiting + sentence, voice)
            if said is not None:
                yield said
                said_any = True
        if not said_any:
            raise InvalidInput("there is no word to speak in this text; give at least one")

    async def close(self) -> None:
        """Close what the engines have open; the executor is its owner's."""
        self._recognizer.close()
        self._synthesizer.close()
        await self._chat.close()

    async def _hear(self, question: NDArray[np.float32]) -> str:
        speech = await self._run(self._detector.trimmed, question)
        if not len(speech):
            seconds = len(question) / SPEECH_RATE
            raise NoSpeech(f"nobody speaks in these {seconds:.1f} s of sound")
        text = await self._run(self._recognizer.transcribe, speech)
        if not speakable(text):
            raise NoSpeech("somebody speaks, but no word can be understood")
        return text

    async def _say(self, sentence: str, voice: Voice) -> tuple[Said | None, str]:
        """The spoken sentence, or None where it has no word, such as a lone emoji.

        Its cues then belong to the next sentence: they are returned beside, as they are written.
        """
        text, placed = take_cues(sentence)
        if not speakable(text):
            return None, written(placed, "")
        try:
            speech = await self._run(self._synthesizer.synthesize, text, voice)
        except InvalidInput:
            return None, written(placed, "")
        cues = timed_cues(placed or natural_cues(text), timed_words(text, speech))
        return Said(text, speech, cues=cues), ""

    async def _run(self, blocking: Callable[..., R], *args: object) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, blocking, *args)
