"""The whole graph in one process, real but for its models, and the calls that people make to it."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray

from avatar.audio.files import encode_wav
from avatar.speech.chat import Chat
from avatar.speech.vad import VoiceDetector
from avatar.transport import OpenRequest
from services.audio_llm.cascade import Cascade
from services.audio_llm.deployment import AudioLlm
from services.gateway.deployment import Gateway
from services.inproc import Make, inproc_graph
from services.ports import free_port
from services.replica import ComputeWorker, Wiring, Worker
from services.settings import AppConfig, Environment, Limits
from services.stage import AUDIO_ENCODER, SCORE_WORKER, VAE_DECODER, Engine
from talkingmachines_api.v1 import talk_pb2, talk_pb2_grpc
from tests.fakes.engines import LoudnessDecoder, LoudnessEncoder, LoudnessPainter
from tests.fakes.speech import GivenChat, GivenRecognizer, ToneSynthesizer

AnyEngine = Engine[Any, Any, Any]


@dataclass
class Parts:
    """What a test may put in the place of a model."""

    encoder: Callable[[], AnyEngine] = LoudnessEncoder
    painter: Callable[[], AnyEngine] = LoudnessPainter
    decoder: Callable[[], AnyEngine] = LoudnessDecoder
    chat: Chat = field(default_factory=GivenChat)

    def makers(self) -> dict[Any, Make]:
        def compute(kind: Any, load: Callable[[], AnyEngine]) -> Make:
            def make(config: AppConfig, environment: Environment, wiring: Wiring) -> Worker:
                return ComputeWorker(config, environment, wiring, kind, lambda profile: load())

            return make

        def cascade(config: AppConfig, environment: Environment, executor: Executor) -> Cascade:
            voice = ToneSynthesizer()
            return Cascade(GivenRecognizer(), self.chat, voice, VoiceDetector(), executor)

        def audio_llm(config: AppConfig, environment: Environment, wiring: Wiring) -> Worker:
            return AudioLlm(config, environment, wiring, cascade)

        return {
            "audio_encoder": compute(AUDIO_ENCODER, self.encoder),
            "score_worker": compute(SCORE_WORKER, self.painter),
            "vae_decoder": compute(VAE_DECODER, self.decoder),
            "audio_llm": audio_llm,
        }


@dataclass
class FakeGraph:
    """A running graph and clients of its two front doors."""

    gateway: Gateway
    talk: "talk_pb2_grpc.TalkServiceAsyncStub"
    channel: grpc.aio.Channel
    http: httpx.AsyncClient
    parts: Parts

    async def say(self, text: str, avatar: str = "") -> list[talk_pb2.TalkEvent]:
        request = talk_pb2.SayRequest(avatar_id=avatar, text=text)
        return [response.event async for response in self.talk.Say(request)]

    async def ask(
        self, question: bytes, avatar: str = "", piece: int = 65_536
    ) -> list[talk_pb2.TalkEvent]:
        async def requests() -> AsyncIterator[talk_pb2.AskRequest]:
            yield talk_pb2.AskRequest(config=talk_pb2.AskConfig(avatar_id=avatar))
            for start in range(0, len(question), piece):
                yield talk_pb2.AskRequest(audio=question[start : start + piece])

        return [response.event async for response in self.talk.Ask(requests())]

    async def leftovers(self) -> dict[str, int]:
        """What a request may not leave behind; waits until edges have come to their end."""
        bus = self.gateway.wiring.bus
        for _ in range(400):
            left = {"sessions": len(self.gateway.coordinator.sessions)}
            for stage in ("audio_llm", "audio_encoder", "score_worker", "vae_decoder", "gateway"):
                workers = await bus.workers(stage)  # type: ignore[arg-type]
                left[f"leases of {stage}"] = sum([await bus.load(w.worker) for w in workers])
            left["edges"] = sum("_run" in str(task.get_coro()) for task in asyncio.all_tasks())
            if not any(left.values()):
                break
            await asyncio.sleep(0.005)
        return {name: count for name, count in left.items() if count}


@asynccontextmanager
async def fake_graph(
    slots: int = 2, limits: Limits | None = None, parts: Parts | None = None
) -> AsyncIterator[FakeGraph]:
    parts = parts or Parts()
    config = AppConfig(slots=slots, port=free_port(), grpc_port=0, limits=limits or Limits())
    async with inproc_graph(config, Environment(), parts.makers()) as gateway:
        target = f"127.0.0.1:{gateway.grpc_port}"
        async with (
            grpc.aio.insecure_channel(target) as channel,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}", timeout=30) as http,
        ):
            while gateway.waiting_for:
                await asyncio.sleep(0.01)
            yield FakeGraph(
                gateway, talk_pb2_grpc.TalkServiceStub(channel), channel, http, parts
            )


def spoken_question(seconds: float = 1.0) -> bytes:
    """A WAV file that a voice detector takes for speech: vowels, made of harmonics."""
    return encode_wav(vowels(seconds))


def vowels(seconds: float) -> NDArray[np.float32]:
    time = np.arange(round(seconds * 16_000)) / 16_000
    pitch = 120 + 15 * np.sin(2 * np.pi * 2.5 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    formants = ((700, 130, 1.0), (1220, 140, 0.6), (2600, 160, 0.3))
    wave_ = np.zeros_like(time)
    for harmonic in range(1, 40):
        frequency = 120 * harmonic
        gain = sum(g / (1 + ((frequency - f) / w) ** 2) for f, w, g in formants)
        wave_ += gain * np.sin(harmonic * phase)
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time) ** 2
    return (0.25 * wave_ * envelope / np.abs(wave_).max()).astype(np.float32)


def long_wav(hours: float) -> bytes:
    """A WAV of so many hours at 1 kHz, 8 bit: few bytes for their length."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(4_000)
        out.writeframes(b"\x80" * round(hours * 3600 * 4_000))
    return file.getvalue()


def video_of(events: Sequence[talk_pb2.TalkEvent]) -> bytes:
    return b"".join(e.video.content for e in events if e.WhichOneof("event") == "video")
