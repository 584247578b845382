"""The OpenAI Realtime protocol: how to connect, what a session is set to, what trouble means."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit

import numpy as np
import openai
from numpy.typing import NDArray
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeAudioInputTurnDetectionParam, SessionUpdateEventParam
from websockets.exceptions import InvalidStatus, WebSocketException

from avatar.errors import ModelServerUnreachable
from avatar.speech.remote import ModelServer

PCM_RATE: Final = 24_000
"""The protocol's only rate of linear PCM, in hertz."""
PREFIX_MS: Final = 300
"""So much sound before the detected speech belongs to it."""
SILENCE_MS: Final = 500
"""So long a silence ends a turn."""
DETECTION: Final[RealtimeAudioInputTurnDetectionParam] = {
    "type": "server_vad",
    "prefix_padding_ms": PREFIX_MS,
    "silence_duration_ms": SILENCE_MS,
    "create_response": True,
    "interrupt_response": False,  # the gateway knows what was heard, the server does not
}
CLOSE_S: Final = 2.0
MAX_MESSAGE: Final = 16 << 20


@asynccontextmanager
async def connected(server: ModelServer) -> AsyncIterator[AsyncRealtimeConnection]:
    """A connection to a speech-to-speech model.

    Raises:
        ModelServerUnreachable: It cannot be made, or was lost; the message names the setting to
            look at.
    """
    # ModelServer's own client sends "Connection: close" to plain HTTP, which forbids an upgrade
    client = openai.AsyncOpenAI(
        base_url=server.base_url or None, api_key=server.api_key or "none", max_retries=0
    )
    options: dict[str, Any] = {"max_size": MAX_MESSAGE, "compression": None, "logger": _QUIET}
    if urlsplit(server.base_url).hostname in ("127.0.0.1", "localhost", "::1"):
        options["proxy"] = None  # a proxy of the environment has no say on this machine
    try:
        async with client:
            manager = client.realtime.connect(
                model=server.model, websocket_connection_options=cast(Any, options)
            )
            async with asyncio.timeout(server.timeout_s):
                connection = await manager.enter()
            try:
                yield connection
            finally:
                try:
                    async with asyncio.timeout(CLOSE_S):
                        await connection.close()
                except (TimeoutError, OSError, WebSocketException):
                    pass  # it is gone already
    except InvalidStatus as error:
        status = error.response.status_code
        raise ModelServerUnreachable(
            f"{server.label} answered with status {status}: {_HINTS.get(status, _ANY)}"
        ) from error
    except TimeoutError as error:
        raise ModelServerUnreachable(
            f"{server.label} did not answer within {server.timeout_s:g} s: check OPENAI_BASE_URL"
        ) from error
    except (OSError, WebSocketException, openai.OpenAIError) as error:
        raise ModelServerUnreachable(
            f"{server.label} cannot be reached, or broke off: check that it runs, that "
            "OPENAI_BASE_URL is right and that it speaks the Realtime protocol"
        ) from error


def settings(persona: str, voice: str, transcription_model: str) -> SessionUpdateEventParam:
    """What a session is told at its start."""
    return {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": persona,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": PCM_RATE},
                    "transcription": {"model": transcription_model},
                    "turn_detection": DETECTION,
                },
                "output": {"format": {"type": "audio/pcm", "rate": PCM_RATE}, "voice": voice},
            },
        },
    }


def persona_settings(persona: str) -> SessionUpdateEventParam:
    """Who the model is told to be from now on."""
    return {"type": "session.update", "session": {"type": "realtime", "instructions": persona}}


def detection(is_on: bool) -> SessionUpdateEventParam:
    """Whether the server finds out by itself when a turn is over."""
    turn_detection = DETECTION if is_on else None
    return {
        "type": "session.update",
        "session": {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}},
    }


def encoded(samples: NDArray[np.float32]) -> str:
    """(S,) float32 in [-1, 1] at PCM_RATE as base64 of 16 bits."""
    pcm = np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2")
    return base64.b64encode(pcm.tobytes()).decode()


def decoded(audio: str) -> NDArray[np.float32]:
    """The way back; raises ValueError."""
    pcm = np.frombuffer(base64.b64decode(audio, validate=True), "<i2")
    return pcm.astype(np.float32) / np.float32(32767)


def explained(server: ModelServer, code: str, type: str) -> str:
    """What a server's error means here; its own words are left out, they may quote the caller."""
    hint = next((text for part, text in _CODES.items() if part in code or part in type), _ANY)
    return f"{server.label} reports {code or type or 'an error'}: {hint}"


_QUIET = logging.getLogger("websockets.client.quiet")
_QUIET.setLevel(logging.WARNING)  # at DEBUG it shows the key, and what is said

_ANY = "see that server's log"
_HINTS = {
    400: "check OPENAI_REALTIME_MODEL",
    401: "check OPENAI_API_KEY",
    403: "check the rights of OPENAI_API_KEY",
    404: "check OPENAI_REALTIME_MODEL, and that OPENAI_BASE_URL speaks the Realtime protocol",
    429: "the quota of OPENAI_API_KEY is used up",
}
_CODES = {
    "api_key": "check OPENAI_API_KEY",
    "authentication": "check OPENAI_API_KEY",
    "permission": "check the rights of OPENAI_API_KEY",
    "quota": "the quota of OPENAI_API_KEY is used up",
    "rate_limit": "the quota of OPENAI_API_KEY is used up",
    "transcription": "check OPENAI_ASR_MODEL",
    "voice": "check OPENAI_REALTIME_VOICE",
    "model": "check OPENAI_REALTIME_MODEL",
    "session_expired": "a new session is opened",
}
