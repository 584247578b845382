"""Score and VAE whose results are under way all the time: the frames are those of waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.bus.memory import MemoryBus
from avatar.media import (
    AudioEmbedding,
    FrameChunk,
    LatentChunk,
    SessionId,
    Stamp,
    WorkerId,
    landed,
)
from avatar.transport import Channel, Hop, Inbound, OpenRequest, Transport
from avatar.transport.grpc import GrpcTransport
from avatar.transport.memory import MemoryNetwork, MemoryTransport
from services.stage import SCORE_WORKER, VAE_DECODER, Stage
from tests.fakes.engines import SIDE, LoudnessDecoder, LoudnessPainter
from tests.fakes.graph import Parts, fake_graph, pictures_of, video_of
from tests.fakes.underway import InAStream

pytestmark = pytest.mark.integration

SESSIONS = (SessionId("s1"), SessionId("s2"))
COUNT = 8
Make = Callable[[], Transport]


def transports(kind: str) -> Make:
    if kind == "grpc":
        return GrpcTransport
    network = MemoryNetwork()
    return lambda: MemoryTransport(network)


def speech(session: SessionId) -> list[AudioEmbedding]:
    levels = np.random.default_rng(int(session[1:])).random((COUNT, 3, 1, 1)).astype(np.float32)
    ahead = np.zeros((2, 1, 1), np.float32)
    return [
        AudioEmbedding(Stamp(session, 0, seq, 1, 0), tokens, ahead)
        for seq, tokens in enumerate(levels / 2)
    ]


def waited_for(session: SessionId) -> list[NDArray[np.uint8]]:
    """One chunk after the other, without streams or stages."""
    score, decoder = LoudnessPainter(), LoudnessDecoder()
    request = OpenRequest(session, 1, "mira", seed=0)
    scored, decoded = score.init_state(request), decoder.init_state(request)
    made = []
    for chunk in speech(session):
        latents, scored = score.step(chunk, scored)
        frames, decoded = decoder.step(latents, decoded)
        made.append(frames.frames)
    return made


@asynccontextmanager
async def graph(make: Make) -> AsyncIterator[tuple[list[Channel], list[asyncio.Queue[Any]]]]:
    """Two sessions' edges into a score and a VAE stage, and what comes out of those."""
    bus = MemoryBus()
    received = {session: asyncio.Queue[Any]() for session in SESSIONS}
    score = InAStream(LoudnessPainter(), (3, 1, SIDE, SIDE))
    decoder = InAStream(LoudnessDecoder(), (12, SIDE, SIDE, 3))

    async def take(inbound: Inbound) -> None:
        while (chunk := await inbound.receive()) is not None:
            received[inbound.request.session].put_nowait(await landed(chunk))

    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for each in (score, decoder):
            stack.callback(each.stream.shutdown)
        stages: list[Stage[Any, Any, Any]] = [
            Stage(SCORE_WORKER, score, bus, make(), WorkerId("score"), slots=2),
            Stage(VAE_DECODER, decoder, bus, make(), WorkerId("vae"), slots=2),
        ]
        infos = []
        for stage in stages:
            infos.append(await stage.start())
            stack.push_async_callback(stage.close)
        first, last = make(), make()
        for transport in (first, last):
            stack.push_async_callback(transport.close)
        end = await last.listen(take)
        channels = []
        for session in SESSIONS:
            fences = []
            for info in infos:
                lease = await bus.acquire(session, info)
                assert lease is not None
                fences.append(lease.fence)
            route = (Hop("vae_decoder", infos[1].address, fences[1]), Hop("gateway", end, 1))
            request = OpenRequest(session, fences[0], "mira", seed=0, route=route)
            channels.append(await first.connect(infos[0].address, request))
        yield channels, list(received.values())


@pytest.mark.parametrize("kind", ["memory", "grpc"])
async def test_two_sessions_in_turn_get_what_each_gets_alone(kind: str) -> None:
    async with graph(transports(kind)) as (channels, received):
        for pair in zip(*map(speech, SESSIONS), strict=True):
            for channel, chunk in zip(channels, pair, strict=True):
                await channel.send(chunk)
        for channel in channels:
            await channel.finish()
            assert await channel.receive() is None
        for session, queue in zip(SESSIONS, received, strict=True):
            made = [await queue.get() for _ in range(COUNT)]
            assert all(isinstance(each, FrameChunk) for each in made)
            assert [each.stamp.seq for each in made] == list(range(COUNT))
            for chunk, expected in zip(made, waited_for(session), strict=True):
                assert np.array_equal(chunk.frames, expected)


async def test_what_is_said_later_changes_no_frames_before() -> None:
    async with graph(transports("memory")) as (channels, received):
        chunks = speech(SESSIONS[0])
        other = speech(SESSIONS[1])[4].tokens
        for seq, chunk in enumerate(chunks):
            tokens = chunk.tokens if seq < 4 else other
            await channels[0].send(AudioEmbedding(chunk.stamp, tokens, chunk.lookahead))
        made = [await received[0].get() for _ in range(COUNT)]
    same = [np.array_equal(*each) for each in zip(
        (each.frames for each in made), waited_for(SESSIONS[0]), strict=True
    )]  # fmt: skip
    assert same[:4] == [True] * 4
    assert not same[4]


async def test_a_video_is_the_same_whether_stages_wait_or_not() -> None:
    """Behind the gateway, to which frames in one process come under way, too."""
    score = InAStream(LoudnessPainter(), (3, 1, SIDE, SIDE))
    decoder = InAStream(LoudnessDecoder(), (12, SIDE, SIDE, 3))
    pictures = []
    for parts in (Parts(), Parts(painter=lambda: score, decoder=lambda: decoder)):
        async with fake_graph(parts=parts) as running:
            events = await running.say("One two three four five six seven eight.")
            pictures.append(pictures_of(video_of(events)))
            assert await running.leftovers() == {}
    for each in (score, decoder):
        each.stream.shutdown()
    assert len(pictures[0]) > 0
    assert all(np.array_equal(*each) for each in zip(*pictures, strict=True))


def test_a_streams_latents_are_no_array_until_they_are_there() -> None:
    """The fake is what it says: else the tests above wait without knowing."""
    score = InAStream(LoudnessPainter(), (3, 1, SIDE, SIDE))
    request = OpenRequest(SESSIONS[0], 1, "mira", seed=0)
    chunk, _ = score.step(speech(SESSIONS[0])[0], score.init_state(request))
    assert isinstance(chunk, LatentChunk)
    assert not isinstance(chunk.given, np.ndarray)
    assert chunk.given.shape == chunk.latents.shape
    score.stream.shutdown()
