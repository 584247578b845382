"""One session's conversation: its turns, and what both sides remember of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from avatar.speech.chat import Message
from avatar.speech.tts import Voice
from services.audio_llm.cascade import Cascade, Heard, Said, TurnPiece

MAX_MESSAGES = 16
MAX_CHARACTERS = 3000
"""What is remembered: about 800 tokens, of the 2048 that the local model holds."""
KEPT_MESSAGES = 4
KEPT_CHARACTERS = 1000
"""What stays when that is full. Much goes at once, because each time that the beginning changes
the model has to read all of it anew; otherwise it reads the new turn only."""


class Conversation:
    """Turns in order, one at a time; closing a turn's generator interrupts it."""

    def __init__(self, cascade: Cascade, persona: str, voice: Voice) -> None:
        self._cascade, self._persona, self._voice = cascade, persona, voice
        self.history: tuple[Message, ...] = ()

    async def answer(self, question: NDArray[np.float32]) -> AsyncGenerator[TurnPiece]:
        """Hear a question, (S,) at 16 kHz, and answer it; raises what `Cascade.answer` raises."""
        turn = self._cascade.answer(question, self.history, self._persona, self._voice)
        async with aclosing(self._remembered(turn)) as pieces:
            async for piece in pieces:
                yield piece

    async def reply(self, question: str) -> AsyncGenerator[TurnPiece]:
        """Answer a text; raises what `Cascade.reply` raises."""
        turn = self._cascade.reply(question, self.history, self._persona, self._voice)
        async with aclosing(self._remembered(turn, question)) as pieces:
            async for piece in pieces:
                yield piece

    async def say(self, text: str) -> AsyncGenerator[TurnPiece]:
        """Say a text as it stands; raises what `Cascade.say` raises."""
        turn = self._cascade.say(text, self._voice)
        async with aclosing(self._remembered(turn)) as pieces:
            async for piece in pieces:
                yield piece

    async def _remembered(
        self, turn: AsyncGenerator[TurnPiece] | AsyncGenerator[Said], question: str = ""
    ) -> AsyncGenerator[TurnPiece]:
        """The same pieces; afterwards, however it ends, what was given out is remembered."""
        said: list[str] = []
        try:
            async with aclosing(turn) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Heard):
                        question = piece.text
                    elif piece.cause is None:
                        said.append(piece.text)
                    yield piece
        finally:
            if said:
                asked = (Message("user", question),) if question else ()
                answer = Message("assistant", " ".join(said))
                self.history = recent((*self.history, *asked, answer))


def recent(history: tuple[Message, ...]) -> tuple[Message, ...]:
    """All of it, or, when there is too much, the last turns, from something the user said on."""
    if len(history) <= MAX_MESSAGES and _characters(history) <= MAX_CHARACTERS:
        return history
    kept = history[-KEPT_MESSAGES:]
    while kept and (kept[0].role == "assistant" or _characters(kept) > KEPT_CHARACTERS):
        kept = kept[1:]
    return kept


def _characters(messages: tuple[Message, ...]) -> int:
    return sum(len(message.text) for message in messages)
