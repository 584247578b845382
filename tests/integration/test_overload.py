"""A call over real stages, edges and leases while one stage is too slow."""

import asyncio
import time

import numpy as np
import pytest

from avatar.media import AudioEmbedding, LatentChunk
from services.gateway.events import CancelResponse, Say
from services.gateway.live import LiveSession
from services.settings import AppConfig
from tests.fakes.engines import Loudness, LoudnessPainter
from tests.fakes.graph import Parts, fake_graph, until
from tests.fakes.live import FakePeer

pytestmark = pytest.mark.integration


class SlowPainter(LoudnessPainter):
    """Takes `takes_s` for each chunk; knows which ones it was given."""

    def __init__(self) -> None:
        self.takes_s = 0.0
        self.seqs: list[int] = []

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        self.seqs.append(chunk.stamp.seq)
        time.sleep(self.takes_s)
        return super().step(chunk, state)


async def test_a_call_keeps_its_voice_while_a_stage_is_too_slow_and_its_face_after() -> None:
    painter, peer = SlowPainter(), FakePeer()
    async with fake_graph(parts=Parts(painter=lambda: painter), slots=1) as graph:
        painter.seqs.clear()  # the first video
        async with graph.gateway.coordinator.session("mira", live=True) as session:
            live = LiveSession(session, AppConfig())
            running = asyncio.create_task(live.run())
            live.attach(peer)
            try:
                await until(lambda: any(block.pictures for _, block in peer.blocks))
                painter.takes_s = 0.9
                await until(lambda: live.describe()["rung"] == "still")
                live.handle(Say(type="avatar.say", text="one two " * 30))
                await until(lambda: live.describe()["state"] == "speaking")
                live.handle(CancelResponse(type="response.cancel"))  # chunks are on their way
                played = len(peer.blocks)
                live.handle(Say(type="avatar.say", text="one two " * 10))
                await until(lambda: len(peer.told("avatar.playback.finished")) == 2)
                painter.takes_s = 0.0
                await until(lambda: live.describe()["rung"] == "full", 60)
                resumed = len(peer.blocks)
                await until(lambda: len(peer.blocks) > resumed + 100)
            finally:
                live.end("hung_up")
                await running
    rungs = [event["rung"] for event in peer.told("avatar.ladder")]
    assert (rungs[0], rungs[-2:]) == ("still", ["light", "full"])  # a busy machine may add some
    sounds = [block.sound.any() for _, block in peer.blocks[played:]]
    heard = np.flatnonzero(sounds)
    assert len(heard) * 0.02 == pytest.approx(2.0, abs=0.05)
    assert heard[-1] - heard[0] + 1 == len(heard)  # without a gap
    assert painter.seqs == sorted(painter.seqs)
    stalls = [event["stalls"] for event in peer.told("avatar.quality")]
    assert stalls[-1] == 0
