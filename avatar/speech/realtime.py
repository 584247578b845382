"""The OpenAI Realtime protocol: how a speech-to-speech model is reached, and its sound and words."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import openai
from numpy.typing import NDArray
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.websocket_connection_options import WebSocketConnectionOptions
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from avatar.errors import ModelServerUnreachable
from avatar.media import Word
from avatar.speech.remote import NO_KEY, ModelServer
from avatar.speech.spoken_words import timed_words
from avatar.speech.tts import Speech

RATE: Final = 24_000
"""Sample rate, in hertz, of the protocol's sound in both directions."""
Event = dict[str, Any]

_MAX_EVENT_BYTES: Final = 8 << 20
_SPEEDS: Final = (0.25, 1.5)


@asynccontextmanager
async def connected(server: ModelServer) -> AsyncIterator[AsyncRealtimeConnection]:
    """A connection, closed at the end; what breaks it inside is told as `lost` tells it.

    Raises:
        ModelServerUnreachable: It cannot be had, or was lost.
    """
    client = openai.AsyncOpenAI(
        base_url=server.base_url or None, api_key=server.api_key or NO_KEY, max_retries=0
    )
    # the client hands its options to websockets.connect, and knows less of them than it takes
    options: Any = {"max_size": _MAX_EVENT_BYTES, "open_timeout": server.timeout_s}
    if server.is_loopback:
        options["proxy"] = None  # a proxy of the environment has no say on this machine
    manager = client.realtime.connect(
        model=server.model, websocket_connection_options=cast(WebSocketConnectionOptions, options)
    )
    async with client:
        try:
            connection = await manager.enter()
            try:
                yield connection
            finally:
                with contextlib.suppress(OSError, WebSocketException):
                    await connection.close()
        except (OSError, TimeoutError, WebSocketException, openai.OpenAIError) as error:
            raise lost(server, error) from error


def lost(server: ModelServer, error: Exception) -> ModelServerUnreachable:
    """Why there is no connection, for people to read; the server's own words are left out."""
    match error:
        case InvalidStatus(response=response):
            hint = _STATUS_HINTS.get(response.status_code, "see that server's log")
            return ModelServerUnreachable(
                f"{server.label} answered with status {response.status_code}: {hint}"
            )
        case InvalidHandshake():
            return ModelServerUnreachable(
                f"{server.label} does not speak the Realtime protocol: check OPENAI_BASE_URL"
            )
        case TimeoutError():
            return ModelServerUnreachable(
                f"{server.label} did not answer within {server.timeout_s:g} s"
            )
        case OSError():
            return ModelServerUnreachable(
                f"{server.label} cannot be reached: check that it runs and OPENAI_BASE_URL"
            )
        case _:
            return ModelServerUnreachable(f"the connection to {server.label} was lost")


def refused(server: ModelServer, code: str) -> ModelServerUnreachable:
    """Why the server would not do what it was asked, by the code of its error."""
    hint = _CODE_HINTS.get(code, "check OPENAI_REALTIME_MODEL, or see that server's log")
    return ModelServerUnreachable(f"{server.label} refused ({code[:60] or 'no code'}): {hint}")


_STATUS_HINTS = {
    401: "check OPENAI_API_KEY",
    403: "check the rights of OPENAI_API_KEY",
    404: "check OPENAI_REALTIME_MODEL and OPENAI_BASE_URL",
    429: "its quota is used up",
}
_CODE_HINTS = {
    "invalid_api_key": "check OPENAI_API_KEY",
    "model_not_found": "check OPENAI_REALTIME_MODEL",
    "invalid_model": "check OPENAI_REALTIME_MODEL",
    "invalid_value": "check OPENAI_REALTIME_VOICE and OPENAI_REALTIME_MODEL",
    "insufficient_quota": "its quota is used up",
    "rate_limit_exceeded": "too much is asked of it at once",
}


@dataclass(frozen=True)
class SessionStyle:
    """How a model listens and speaks in one conversation."""

    persona: str
    voice: str
    speed: float
    transcriber: str
    """The model that writes down what the caller says."""

    def update(self) -> Event:
        """The event that sets all of it, with the server's voice detection."""
        pcm = {"type": "audio/pcm", "rate": RATE}
        speed = min(max(self.speed, _SPEEDS[0]), _SPEEDS[1])
        heard = {
            "format": pcm,
            "transcription": {"model": self.transcriber},
            "turn_detection": TURN_DETECTION,
        }
        session = {
            "type": "realtime",
            "instructions": self.persona,
            "output_modalities": ["audio"],
            "audio": {
                "input": heard,
                "output": {"format": pcm, "voice": self.voice, "speed": speed},
            },
        }
        return {"type": "session.update", "session": session}


TURN_DETECTION: Final = {
    "type": "server_vad",
    "create_response": True,
    "interrupt_response": False,  # what was heard of the answer is known here, not there
}


def listening(detects_turns: bool) -> Event:
    """The event that lets the server end turns, or leaves it to a button."""
    heard = {"turn_detection": TURN_DETECTION if detects_turns else None}
    return {"type": "session.update", "session": {"type": "realtime", "audio": {"input": heard}}}


def message(role: str, text: str) -> Event:
    """The event that puts a text into the conversation; `role` is user or assistant."""
    kind = "input_text" if role == "user" else "output_text"
    item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return {"type": "conversation.item.create", "item": item}


def encoded(samples: NDArray[np.float32]) -> str:
    """(S,) float32 as the protocol's 16-bit sound."""
    return base64.b64encode((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()).decode()


def decoded(sound: str) -> NDArray[np.float32]:
    """The protocol's 16-bit sound as (S,) float32.

    Raises:
        ValueError: It is none.
    """
    return np.frombuffer(base64.b64decode(sound, validate=True), "<i2").astype(np.float32) / 32768


class SpokenText:
    """Puts the words of an answer to its sound, piece by piece; both come as they like.

    The protocol says no times. A word is told with the sound that it is most likely in, by the
    letters spoken so far; the last piece gets what is left.
    """

    def __init__(self) -> None:
        self.num_samples = 0
        """Of all sound so far."""
        self._sound: list[NDArray[np.float32]] = []
        self._waiting = 0
        self._text = ""
        self._is_text_whole = False
        self._letters_told = 0
        self._voiced_s = 0.0
        self._is_first = True

    def read(self, text: str) -> None:
        self._text += text

    def read_all(self) -> None:
        """No more text comes."""
        self._is_text_whole = True

    def hear(self, samples: NDArray[np.float32]) -> None:
        self._sound.append(samples)
        self._waiting += len(samples)
        self.num_samples += len(samples)

    def take(self, is_all: bool) -> tuple[str, NDArray[np.float32], tuple[Word, ...]] | None:
        """The next words with their sound, once there is enough; times are from its beginning.

        Args:
            is_all: Nothing follows: take all there is.
        """
        least_s = _FIRST_PIECE_S if self._is_first else _PIECE_S
        if not self._waiting or not (is_all or self._waiting >= least_s * RATE):
            return None
        if self._is_first and not (is_all or self._words() or self._waiting > _TEXT_WAIT_S * RATE):
            return None  # its first words must be there
        sound = np.concatenate(self._sound)
        self._sound, self._waiting = [], 0
        text = self._take_text(sound, is_all)
        self._is_first = False
        return text, sound, timed_words(text, Speech(sound, RATE))

    def _take_text(self, sound: NDArray[np.float32], is_all: bool) -> str:
        frames = sound[: len(sound) // _FRAME * _FRAME].reshape(-1, _FRAME)
        self._voiced_s += float((np.abs(frames).max(axis=1) > _QUIET).sum()) * _FRAME / RATE
        words, letters = self._words(is_all), self._letters_told
        num_taken = 0
        for word in words:
            middle = letters + len(word) / 2
            is_due = middle <= self._voiced_s * _LETTERS_PER_S or (self._is_first and not num_taken)
            if not (is_all or is_due):
                break
            num_taken, letters = num_taken + 1, letters + len(word) + 1
        self._letters_told = letters
        rest = self._text.split(maxsplit=num_taken)
        self._text = rest[num_taken] if len(rest) > num_taken else ""
        return " ".join(words[:num_taken])

    def _words(self, is_all: bool = False) -> list[str]:
        """Whole words that are not told yet."""
        words = self._text.split()
        if words and not (is_all or self._is_text_whole or self._text[-1].isspace()):
            words.pop()  # it may go on
        return words


_FIRST_PIECE_S = 0.4  # soon, but enough for the first chunk of the face
_PIECE_S = 1.0
_TEXT_WAIT_S = 2.0
_LETTERS_PER_S = 15.0  # of unhurried English, spaces counted
_FRAME = RATE // 50
_QUIET = 0.02
