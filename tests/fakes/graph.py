"""The whole graph in one process, real but for its models, and the calls that people make to it."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray

from avatar.media import STAGES, StageName
from avatar.speech.chat import Chat
from avatar.speech.vad import VoiceDetector
from services.audio_llm.cascade import Cascade
from services.audio_llm.deployment import AudioLlm
from services.capacity import Clock
from services.gateway.deployment import Gateway
from services.gateway.recipes import Recipes
from services.inproc import Make, inproc_graph
from services.ports import free_port
from services.replica import ComputeWorker, Wiring, Worker
from services.settings import AppConfig, Environment, Limits
from services.stage import AUDIO_ENCODER, SCORE_WORKER, VAE_DECODER, Engine
from talkingmachines_api.v1 import talk_pb2, talk_pb2_grpc
from tests.fakes.engines import LoudnessDecoder, LoudnessEncoder, LoudnessPainter
from tests.fakes.speech import GivenChat, GivenRecognizer, ToneSynthesizer

QUESTIONS = Path(__file__).parent.parent / "data" / "questions"
NOWHERE = Path("/nowhere")
"""No avatars but the shipped ones, whatever the user of this machine has trained."""
AnyEngine = Engine[Any, Any, Any]


@dataclass
class Parts:
    """What a test may put in the place of a model."""

    encoder: Callable[[], AnyEngine] = LoudnessEncoder
    painter: Callable[[], AnyEngine] = LoudnessPainter
    decoder: Callable[[], AnyEngine] = LoudnessDecoder
    chat: Chat = field(default_factory=GivenChat)
    clocks: Sequence[Clock] | None = None
    """By which engines that can be tried are measured."""

    def makers(self) -> dict[StageName, Make]:
        def compute(kind: Any, load: Callable[[], AnyEngine]) -> Make:
            def make(config: AppConfig, environment: Environment, wiring: Wiring) -> Worker:
                return ComputeWorker(
                    config, environment, wiring, kind, lambda _: load(), self.clocks
                )

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
        """What a request may not leave behind, once its edges have had time to end."""
        for _ in range(400):
            if not await self._count():
                break
            await asyncio.sleep(0.01)
        return await self._count()

    async def _count(self) -> dict[str, int]:
        bus = self.gateway.wiring.bus
        left = {
            "sessions": len(self.gateway.coordinator.sessions),
            "edges": sum("_run" in str(task.get_coro()) for task in asyncio.all_tasks()),
        }
        for stage in STAGES:
            workers = await bus.workers(stage)
            left[f"leases of {stage}"] = sum(await bus.loads(*(each.worker for each in workers)))
        return {name: count for name, count in left.items() if count}


@asynccontextmanager
async def fake_graph(
    slots: int = 2,
    limits: Limits | None = None,
    parts: Parts | None = None,
    ready: bool = True,
    avatars: Path = NOWHERE,
    recipes: Recipes | None = None,
) -> AsyncIterator[FakeGraph]:
    """Run it; `ready` waits until it has made its first video."""
    config = AppConfig(
        slots=slots,
        port=free_port(),
        grpc_port=0,
        limits=limits or Limits(),
        avatars_dir=avatars,
    )
    async with inproc_graph(config, Environment(), (parts or Parts()).makers()) as gateway:
        gateway.workshop.recipes = recipes or gateway.workshop.recipes
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}", timeout=30) as http,
        ):
            if ready:
                await until(lambda: not gateway.waiting_for)
            yield FakeGraph(gateway, talk_pb2_grpc.TalkServiceStub(channel), channel, http)


async def until(is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait for something that happens by itself."""
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110  what is watched has no event to wait for
            await asyncio.sleep(0.01)


def spoken_question() -> bytes:
    """The file of somebody who asks something."""
    return (QUESTIONS / "what_is_your_name.flac").read_bytes()


def silent_wav(seconds: float) -> bytes:
    """8 bits at 4 kHz: few bytes for their length."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(4_000)
        out.writeframes(b"\x80" * round(seconds * 4_000))
    return file.getvalue()


def video_of(events: Sequence[talk_pb2.TalkEvent]) -> bytes:
    return b"".join(e.video.content for e in events if e.WhichOneof("event") == "video")


def pictures_of(video: bytes) -> NDArray[np.uint8]:
    """(N, H, W) luma of an MP4."""
    import av

    with av.open(io.BytesIO(video), "r") as file:
        return np.stack([frame.to_ndarray(format="gray") for frame in file.decode(video=0)])
