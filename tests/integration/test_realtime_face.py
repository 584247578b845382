"""A whole call that a speech-to-speech model holds: sound, captions, pictures."""

import asyncio
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from avatar.media import StageName
from avatar.speech.vad import VoiceDetector
from services.audio_llm.cascade import Cascade
from services.audio_llm.deployment import AudioLlm
from services.gateway.events import CreateItem, CreateResponse
from services.gateway.live import LiveSession
from services.gateway.media import PLAYED_RATE, Block
from services.inproc import Make
from services.replica import Wiring, Worker
from services.settings import AppConfig, Chat, Environment
from tests.fakes.graph import Parts, fake_graph, until
from tests.fakes.realtime_server import KEY, MODEL, FakeRealtime, realtime_server, spoken
from tests.fakes.speech import GivenRecognizer, ToneSynthesizer

pytestmark = pytest.mark.integration


class Screen:
    """Stands where a caller's browser is, and plays what it is given."""

    def __init__(self) -> None:
        self.sound: list[NDArray[np.int16]] = []
        self.num_pictures = 0
        self.events: list[dict[str, object]] = []

    def play(self, block: Block) -> None:
        self.sound.append(block.sound)
        self.num_pictures += len(block.pictures)

    def tell(self, event: dict[str, object]) -> None:
        self.events.append(event)

    def told(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]


async def test_a_face_says_what_the_model_says() -> None:
    async with realtime_server() as server, asyncio.timeout(60):
        async with fake_graph(parts=RealtimeParts(server)) as graph:
            async with graph.gateway.coordinator.session("mira", live=True) as session:
                live, screen = LiveSession(session, AppConfig()), Screen()
                running = asyncio.create_task(live.run())
                live.attach(screen)
                await until(lambda: bool(server.sessions))
                live.handle(CreateItem.model_validate(item_of("How are you?")))
                live.handle(CreateResponse(type="response.create"))
                await until(lambda: bool(screen.told("avatar.playback.finished")))
                live.end("hung_up")
                await running
        deltas = screen.told("response.output_audio_transcript.delta")
        assert " ".join(each["delta"] for each in deltas) == "You said: How are you?"
        words = [word["text"] for each in deltas for word in each["words"]]
        assert words == "You said: How are you?".split()
        loud = np.abs(np.concatenate(screen.sound).astype(np.float32)) > 500
        loud_s = float(np.count_nonzero(np.convolve(loud, np.ones(480), "same") > 0)) / PLAYED_RATE
        tone_s = sum(each.end_s - each.start_s for each in spoken("You said: How are you?")[1])
        assert loud_s == pytest.approx(tone_s, abs=0.15)
        assert screen.num_pictures > 25


class RealtimeParts(Parts):
    """Conversations are held by a Realtime server."""

    def __init__(self, server: FakeRealtime) -> None:
        super().__init__()
        self.server = server

    def makers(self) -> dict[StageName, Make]:
        def audio_llm(config: AppConfig, environment: Environment, wiring: Wiring) -> Worker:
            def load(config: AppConfig, environment: Environment, executor: Executor) -> Cascade:
                voice = ToneSynthesizer()
                return Cascade(GivenRecognizer(), self.chat, voice, VoiceDetector(), executor)

            chat = Chat(base_url=self.server.base_url, api_key=SecretStr(KEY), realtime_model=MODEL)
            told = Environment(chat=chat)
            return AudioLlm(config, told, wiring, load)

        return {**super().makers(), "audio_llm": audio_llm}


def item_of(text: str) -> dict[str, object]:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    return {"type": "conversation.item.create", "item": item}
