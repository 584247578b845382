"""Replies of a language model, sentence by sentence, through the OpenAI chat protocol."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from avatar.errors import ModelServerUnreachable
from avatar.speech.cues import INSTRUCTION
from avatar.speech.remote import ModelServer, reaching
from avatar.speech.text import CLAUSE_MARKS, SentenceSplitter


@dataclass(frozen=True)
class Message:
    """What one side said, as it was heard."""

    role: Literal["user", "assistant"]
    text: str = field(repr=False)


class Chat(Protocol):
    @property
    def label(self) -> str:
        """Which model answers, for people to read."""
        ...

    def reply(
        self,
        question: str,
        /,
        *,
        persona: str,
        history: Sequence[Message] = (),
        brisk: bool = False,
    ) -> AsyncGenerator[str]:
        """Sentences of the answer, each as soon as it is complete; closing it aborts the request.

        Cues may stand in them, as `avatar.speech.cues` reads them.

        Args:
            question: What to answer.
            persona: Who answers.
            history: What was said before.
            brisk: The first clause of a long first sentence comes by itself, sooner.

        Raises:
            ModelServerUnreachable: The server does not answer, refuses, or stops half way.
        """
        ...

    async def warm(self, persona: str, /) -> None:
        """Make the server read the persona now, so that the first question need not wait for it.

        Raises:
            ModelServerUnreachable: The server does not answer, or refuses.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class ReplyStyle:
    """How long an answer may be, and how it is sampled."""

    max_tokens: int = 80
    max_sentences: int = 3
    temperature: float = 0.3
    examples: tuple[Message, ...] = ()
    """Turns shown before the history, for models too small to follow an instruction alone."""
    offers_cues: bool = False
    """The model is told that it may write cues, such as [smile], into its answer."""
    begins_with_name: bool = False
    """Who is asked for its name has its answer begun for it: small models forget it."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that only this server knows."""


class ChatClient:
    """Talks to a model server; one per event loop."""

    def __init__(
        self,
        server: ModelServer,
        style: ReplyStyle | None = None,
        *,
        label: str = "",
    ) -> None:
        self._server, self._style = server, style or ReplyStyle()
        self.label = label or server.label
        self._client = server.async_client()

    async def reply(
        self,
        question: str,
        /,
        *,
        persona: str,
        history: Sequence[Message] = (),
        brisk: bool = False,
    ) -> AsyncGenerator[str]:
        splitter, count, said_any = SentenceSplitter(brisk), 0, False
        messages = self._messages(persona, [*history, Message("user", question)])
        if self._style.begins_with_name and (opening := opening_for(question, persona)):
            messages.append({"role": "assistant", "content": opening})  # llama.cpp goes on from it
            splitter.feed(opening)
        async with aclosing(self._tokens(messages)) as tokens:
            async for text, finish in tokens:
                done = splitter.feed(text)
                if finish is not None:
                    rest = splitter.flush()
                    # an answer that hit the limit ends with its last whole sentence
                    done += rest if finish != "length" or not (said_any or done) else []
                for sentence in done:
                    yield sentence
                    said_any = True
                    count += not sentence.endswith(CLAUSE_MARKS)
                    if count == self._style.max_sentences:
                        return
        if not said_any:
            raise ModelServerUnreachable(f"{self.label} answered with nothing")

    async def warm(self, persona: str, /) -> None:
        with reaching(self._server):
            await self._client.chat.completions.create(
                model=self._server.model,
                messages=self._messages(persona, [Message("user", "Hello.")]),
                max_tokens=1,
            )

    async def close(self) -> None:
        await self._client.close()

    async def _tokens(
        self, messages: list[ChatCompletionMessageParam]
    ) -> AsyncGenerator[tuple[str, str | None]]:
        """Pieces of text, the last with the reason why there are no more."""
        finish: str | None = None
        with reaching(self._server):
            stream = await self._client.chat.completions.create(
                model=self._server.model,
                messages=messages,
                max_tokens=self._style.max_tokens,
                temperature=self._style.temperature,
                stream=True,
                extra_body=self._style.extra,
            )
            async with stream:
                while (chunk := await self._next(stream)) is not None:
                    for choice in chunk.choices[:1]:
                        finish = choice.finish_reason or finish
                        if choice.delta.content:
                            yield choice.delta.content, None
        if finish is None:
            raise ModelServerUnreachable(f"{self.label} broke off in the middle of its answer")
        yield "", finish

    async def _next(
        self, stream: openai.AsyncStream[ChatCompletionChunk]
    ) -> ChatCompletionChunk | None:
        """Next chunk; the client's own timeout is reset by each byte, such as a keep-alive."""
        try:
            async with asyncio.timeout(self._server.timeout_s):
                return await anext(stream, None)
        except TimeoutError as error:
            raise ModelServerUnreachable(
                f"{self.label} did not answer within {self._server.timeout_s:g} s"
            ) from error

    def _messages(self, persona: str, turns: Sequence[Message]) -> list[ChatCompletionMessageParam]:
        if self._style.offers_cues:
            persona = f"{persona} {INSTRUCTION}"
        messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": persona}]
        for turn in (*self._style.examples, *turns):
            if turn.role == "user":
                messages.append({"role": "user", "content": turn.text})
            else:
                messages.append({"role": "assistant", "content": turn.text})
        return messages


def opening_for(question: str, persona: str) -> str:
    """How a persona that begins "You are Ada" answers who asks for its name: "I'm Ada"."""
    name = re.match(r"You are ([A-Z]\w+)", persona)
    return f"I'm {name[1]}" if name and _ASKS_FOR_NAME.search(question) else ""


_ASKS_FOR_NAME = re.compile(
    r"\b(your name|who are you|(should|do|can|may) I call you|are you called)\b", re.IGNORECASE
)


class ScriptedChat:
    """What answers when no language model is there at all; it says so."""

    label = "a fixed answer: no language model is installed"

    async def reply(
        self,
        question: str,
        /,
        *,
        persona: str,
        history: Sequence[Message] = (),
        brisk: bool = False,
    ) -> AsyncGenerator[str]:
        if not history:
            yield "No language model is installed here, so this is a fixed answer."
        yield f"[nod] I heard you say: {question[:200]}"

    async def warm(self, persona: str, /) -> None:
        """Nothing to read."""

    async def close(self) -> None:
        """Nothing to close."""
