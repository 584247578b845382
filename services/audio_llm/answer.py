"""One answer of a live conversation: made ahead of time, held back, told, heard or dropped."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal, Self

from avatar.errors import AvatarError
from avatar.media import Word
from avatar.speech.spoken_words import timed_words
from avatar.telemetry.logging import get_logger
from services.audio_llm.backend import Outbound
from services.audio_llm.cascade import Said

log = get_logger(__name__)


class Answer:
    """Begins to be made at once, is told from `release` on, and never again after `drop`.

    Until it is released only its first sentence is made. While it is held, the first sentence
    waits, because the caller may just be going on.
    """

    def __init__(
        self,
        question: str,
        pieces: AsyncGenerator[Said],
        models: tuple[str, ...],
        at_end: Callable[["Answer"], None],
    ) -> None:
        """Nothing is made before `start`.

        Args:
            question: What it answers; empty for a text that is only said.
            pieces: Its sentences.
            models: Who made it, for people to read.
            at_end: Called when all of it is told, or that it failed; not when it is dropped.
        """
        self.question = question
        self.words: list[Word] = []
        """Told so far; seconds since the answer began to sound."""
        self.is_told = False
        """Nothing of it follows."""
        self.is_given = False
        """It is somebody else's."""
        self.epoch = 0
        """In which it was released."""
        self._pieces = pieces
        self._models = models
        self._at_end = at_end
        self._sentences: list[tuple[str, bool]] = []
        self._told_s = 0.0
        self._out: Outbound | None = None
        self._is_dropped = False
        self._is_held = False
        self._may_be_told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def given(cls, out: Outbound) -> Self:
        """One that is not made here: it sounds already, and what it says is known to others."""
        answer = cls("", _nothing(), (), lambda _: None)
        answer.is_told, answer.is_given, answer.epoch = True, True, out.epoch
        return answer

    @property
    def text(self) -> str:
        """All that was told of it, but for what only says that there is no answer."""
        return " ".join(sentence for sentence, is_own in self._sentences if is_own)

    @property
    def is_silent(self) -> bool:
        """No sound of it was told."""
        return not self._sentences

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(self._make())

    def release(self, out: Outbound) -> None:
        """Tell it from now on."""
        self._out, self.epoch = out, out.epoch
        self._open()

    def hold(self, is_held: bool) -> None:
        """Keep the first sentence back, or no longer."""
        self._is_held = is_held
        self._open()

    def drop(self) -> None:
        """Stop making it and telling it; idempotent."""
        self._is_dropped = True
        if self._task is not None:
            self._task.cancel()

    def own_words(self, heard: str) -> str:
        """What was heard of it, without what only says that there is no answer."""
        if self.is_given:
            return heard
        num_own, words = len(self.text.split()), heard.split()
        return heard if len(words) <= num_own else " ".join(words[:num_own])

    def _open(self) -> None:
        if self._out is not None and not (self._is_held and self.is_silent):
            self._may_be_told.set()
        else:
            self._may_be_told.clear()

    async def _make(self) -> None:
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    await self._tell(piece)
            await self._end("end_of_reply", "\n".join(self._models))
        except AvatarError as error:
            log.warning("answer_failed", cause=str(error))
            await self._end("failed", str(error))
        except Exception:
            log.exception("answer_failed")
            await self._end("failed", "the answer could not be made; the server's log says why")

    async def _tell(self, piece: Said) -> None:
        out = await self._leave_to_tell()
        speech, words = piece.speech, timed_words(piece.text, piece.speech)
        out.tell("reply", piece.text, words=words, cues=piece.cues, epoch=self.epoch)
        out.play(speech.samples, speech.sample_rate, epoch=self.epoch)
        self.words += (
            Word(word.text, self._told_s + word.start_s, self._told_s + word.end_s)
            for word in words
        )
        self._told_s += speech.seconds
        self._sentences.append((piece.text, piece.cause is None))

    async def _end(self, kind: Literal["end_of_reply", "failed"], text: str) -> None:
        out = await self._leave_to_tell()
        out.tell(kind, text, epoch=self.epoch)
        self.is_told = True
        self._at_end(self)

    async def _leave_to_tell(self) -> Outbound:
        await self._may_be_told.wait()
        # asked again, because a cancellation can be swallowed on its way (httpx, Python 3.11)
        if self._is_dropped or self._out is None:
            raise asyncio.CancelledError
        return self._out


async def _nothing() -> AsyncGenerator[Said]:
    return
    yield
