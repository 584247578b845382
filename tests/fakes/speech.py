"""Speech engines without models: what they hear, think and say is given to them."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avatar.errors import AvatarError, InvalidInput
from avatar.speech.chat import Message
from avatar.speech.text import speakable
from avatar.speech.tts import Speech, Voice


@dataclass(frozen=True)
class PlainVoice:
    speed: float = 1.0
    pitch: float = 1.0


@dataclass
class GivenRecognizer:
    """Hears `words`, whatever is said."""

    words: str = "what is it"
    label: str = "given ears"
    heard: list[int] = field(default_factory=list)

    def transcribe(self, samples: NDArray[np.float32], /, hint: str = "") -> str:
        self.heard.append(len(samples))
        return self.words

    def close(self) -> None:
        pass


@dataclass
class GivenChat:
    """Answers with `sentences`, then with `trouble` if there is any."""

    sentences: list[str] = field(default_factory=lambda: ["One.", "Two."])
    trouble: AvatarError | None = None
    label: str = "given chat"
    asked: list[tuple[str, str, tuple[Message, ...]]] = field(default_factory=list)
    warmed: list[str] = field(default_factory=list)
    aborted: int = 0

    async def reply(
        self,
        question: str,
        /,
        *,
        persona: str,
        history: Sequence[Message] = (),
        brisk: bool = False,
    ) -> AsyncGenerator[str]:
        self.asked.append((question, persona, tuple(history)))
        try:
            for sentence in self.sentences:
                yield sentence
        except GeneratorExit:
            self.aborted += 1
            raise
        if self.trouble:
            raise self.trouble

    async def warm(self, persona: str, /) -> None:
        if self.trouble:
            raise self.trouble
        self.warmed.append(persona)

    async def close(self) -> None:
        pass


@dataclass
class ToneSynthesizer:
    """Speaks a tone of 0.1 s for each word."""

    label: str = "tone"
    spoken: list[str] = field(default_factory=list)

    def synthesize(self, text: str, voice: Voice, /) -> Speech:
        if not speakable(text):
            raise InvalidInput("nothing to speak")
        self.spoken.append(text)
        num_samples = 2400 * len(text.split())
        tone = np.sin(2 * np.pi * 220 * voice.pitch * np.arange(num_samples) / 24_000)
        return Speech((0.3 * tone).astype(np.float32), 24_000)

    def close(self) -> None:
        pass
