"""Text to speech: what a voice is asked for and gives, and voices of OpenAI-compatible servers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.audio.resample import resample
from avatar.errors import InvalidInput, ModelServerUnreachable
from avatar.media import Word
from avatar.speech.phonemes import TimedPhoneme
from avatar.speech.remote import ModelServer, reaching
from avatar.speech.text import checked, sentences, speakable

SPEEDS = (0.5, 2.0)
"""Slowest and fastest speech that is asked of an engine."""


class Voice(Protocol):
    """How a character speaks: factors of the engine's own rate and pitch."""

    @property
    def speed(self) -> float: ...
    @property
    def pitch(self) -> float: ...


@dataclass(frozen=True)
class Speech:
    """An utterance: `samples` is (S,) float32 in [-1, 1].

    `phonemes` and `words` are empty where unknown; `words` are those of the text as it was given.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    phonemes: tuple[TimedPhoneme, ...] = ()
    words: tuple[Word, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def at(self, sample_rate: int) -> NDArray[np.float32]:
        """The samples at another rate."""
        return resample(self.samples, self.sample_rate, sample_rate)


class Synthesizer(Protocol):
    @property
    def label(self) -> str:
        """Which model speaks, for people to read."""
        ...

    def synthesize(self, text: str, voice: Voice, /) -> Speech:
        """Speak 1 to 2000 characters; blocks.

        Raises:
            TooLarge: The text is longer.
            InvalidInput: There is nothing to speak in it.
            ModelServerUnreachable: The server does not answer.
        """
        ...

    def close(self) -> None: ...


class RemoteSynthesizer:
    """`audio.speech` of an OpenAI-compatible server; phoneme times are unknown."""

    def __init__(self, server: ModelServer, voice_name: str = "alloy") -> None:
        self._server, self._voice_name = server, voice_name
        self._client = server.client()

    @property
    def label(self) -> str:
        return self._server.label

    def synthesize(self, text: str, voice: Voice, /) -> Speech:
        spoken = " ".join(filter(None, map(speakable, sentences(checked(text)))))
        if not spoken:
            raise InvalidInput("there is no word to speak in this text")
        with reaching(self._server):
            answer = self._client.audio.speech.create(
                model=self._server.model,
                voice=self._voice_name,
                input=spoken,
                response_format="wav",
                speed=float(np.clip(voice.speed / voice.pitch, *SPEEDS)),
            )
            content = answer.read()
        try:
            samples = decode(content, _RATE, _MAX_REMOTE_SECONDS, _MAX_REMOTE_BYTES)
        except InvalidInput as error:  # the server's fault, not the caller's
            raise ModelServerUnreachable(f"{self.label} answered with no sound") from error
        return with_pitch(Speech(samples, _RATE), voice.pitch)

    def close(self) -> None:
        self._client.close()


_RATE = 24_000
_MAX_REMOTE_SECONDS = 300.0
_MAX_REMOTE_BYTES = 64 << 20


def with_pitch(speech: Speech, pitch: float) -> Speech:
    """Pitch and tempo times `pitch`, by playing the samples faster."""
    samples = resample(speech.samples, speech.sample_rate * pitch, speech.sample_rate)
    sounds = (replace(p, start_s=p.start_s / pitch, end_s=p.end_s / pitch) for p in speech.phonemes)
    return Speech(np.clip(samples, -1.0, 1.0), speech.sample_rate, tuple(sounds))


def joined(parts: Sequence[Speech]) -> Speech:
    """One after the other; all at the same rate."""
    rate, phonemes, length = parts[0].sample_rate, list[TimedPhoneme](), 0
    for part in parts:
        shift = length / rate
        phonemes += (
            replace(p, start_s=p.start_s + shift, end_s=p.end_s + shift) for p in part.phonemes
        )
        length += len(part.samples)
    return Speech(np.concatenate([part.samples for part in parts]), rate, tuple(phonemes))
