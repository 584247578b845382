"""A live conversation held by a speech-to-speech model, over the OpenAI Realtime protocol."""

from avatar.cast.characters import Character
from avatar.speech.remote import ModelServer
from avatar.transport import Inbound
from services.audio_llm.backend import Outbound


class RealtimeLive:
    """Live conversations in which one model hears, thinks and speaks; a `LiveBackend`."""

    def __init__(self, server: ModelServer, voice: str) -> None:
        self._server, self._voice = server, voice

    async def start(self) -> None:
        """Nothing to load: the model is the server's."""

    async def converse(self, inbound: Inbound, out: Outbound, character: Character, /) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Every conversation closes its own connection."""
