"""The SDK against the real talk service and stages, with small engines."""

import asyncio
import io
import threading
from pathlib import Path

import av
import numpy as np
import pytest

import talkingmachines as tm
from avatar.audio.files import encode_wav
from avatar.errors import ModelServerUnreachable
from avatar.media import AudioEmbedding, LatentChunk
from tests.fakes.engines import Loudness, LoudnessPainter
from tests.fakes.graph import FakeGraph, Parts, fake_graph
from tests.fakes.speech import GivenChat

pytestmark = pytest.mark.integration

QUESTION = Path(__file__).resolve().parents[1] / "data/questions/what_is_your_name.flac"
LONG = "One two three four five six seven eight nine ten. " * 20


def client_of(graph: FakeGraph, retry_busy_s: float = 0.0) -> tm.AsyncClient:
    return tm.AsyncClient(f"127.0.0.1:{graph.gateway.grpc_port}", retry_busy_s=retry_busy_s)


def frames_in(mp4: bytes) -> int:
    with av.open(io.BytesIO(mp4), "r") as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))


async def test_say_becomes_a_file_with_the_frames_of_its_summary(tmp_path: Path) -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        await client.wait_ready()
        saved = await client.say("One two three.", "mira").save(tmp_path / "a.mp4")

        assert saved.reply == "One two three."
        assert frames_in((tmp_path / "a.mp4").read_bytes()) == saved.summary.frame_count > 0
        assert await graph.leftovers() == {}


async def test_ask_returns_what_was_heard_and_answered(tmp_path: Path) -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        await client.wait_ready()
        steps: list[tm.Event] = []
        saved = await client.ask(QUESTION).save(tmp_path / "a.mp4", steps.append)

        assert (saved.transcript, saved.reply) == ("what is it", "One. Two.")
        assert isinstance(steps[0], tm.Transcript)
        assert isinstance(steps[-1], tm.Summary)
        chunks = [step for step in steps if isinstance(step, tm.ChunkReady)]
        assert [chunk.chunks_done for chunk in chunks] == list(range(1, len(chunks) + 1))


async def test_the_sync_client_does_it_too(tmp_path: Path) -> None:
    async with fake_graph() as graph:

        def talk() -> tm.SavedAnswer:
            with tm.Client(f"127.0.0.1:{graph.gateway.grpc_port}") as client:
                client.wait_ready()
                return client.ask(QUESTION).save(tmp_path / "a.mp4")

        saved = await asyncio.to_thread(talk)

        assert saved.transcript == "what is it"
        assert frames_in((tmp_path / "a.mp4").read_bytes()) == saved.summary.frame_count


async def test_what_the_graph_refuses_arrives_as_its_error() -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        await client.wait_ready()

        with pytest.raises(tm.NotFound, match="nobody"):
            await anext(client.say("Hello.", "nobody"))
        with pytest.raises(tm.InvalidInput):
            await anext(client.ask(b"this is no audio file" * 100))
        with pytest.raises(tm.NoSpeech):
            await anext(client.ask(encode_wav(np.zeros(16_000, np.float32))))
        assert await graph.leftovers() == {}


async def test_where_the_model_server_does_not_answer_the_avatar_says_so(tmp_path: Path) -> None:
    parts = Parts(chat=GivenChat(sentences=[], trouble=ModelServerUnreachable("no model server")))
    async with fake_graph(parts=parts) as graph, client_of(graph) as client:
        saved = await client.ask(QUESTION).save(tmp_path / "a.mp4")

        assert "cannot reach my language model" in saved.reply
        assert frames_in((tmp_path / "a.mp4").read_bytes()) == saved.summary.frame_count > 0


class GatedPainter(LoudnessPainter):
    """Paints on, once the gate is open."""

    def __init__(self, gate: threading.Event) -> None:
        self._gate = gate

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        self._gate.wait(10.0)
        return super().step(chunk, state)


async def test_a_full_graph_says_when_to_come_back_and_serves_who_waits(tmp_path: Path) -> None:
    gate = threading.Event()
    gate.set()
    parts = Parts(painter=lambda: GatedPainter(gate))
    async with fake_graph(slots=1, parts=parts) as graph, client_of(graph) as client:
        await client.wait_ready()
        gate.clear()
        first = client.say("One two three.")
        await anext(first)
        with pytest.raises(tm.Busy) as raised:
            await anext(client.say("Me too."))
        gate.set()
        _ = [step async for step in first]
        async with client_of(graph, retry_busy_s=60.0) as patient:
            saved = await patient.say("Me too.").save(tmp_path / "a.mp4")

        assert raised.value.retry_after_s > 0
        assert saved.summary.frame_count > 0
        assert await graph.leftovers() == {}


async def test_leaving_an_answer_early_frees_the_graph() -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        await client.wait_ready()
        async with client.say(LONG) as answer:
            await anext(answer)

        assert await graph.leftovers() == {}


async def test_the_avatars_are_the_cast_and_each_can_speak(tmp_path: Path) -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        await client.wait_ready()
        avatars = await client.avatars()

        assert len(avatars) >= 4
        assert [page[0] async for page in client.avatar_pages(1)] == avatars
        assert (await client.portrait(avatars[-1].id)).startswith(b"\x89PNG")
        for avatar in avatars:
            saved = await client.say("Hi.", avatar.id).save(tmp_path / f"{avatar.id}.mp4")
            assert saved.summary.frame_count > 0
