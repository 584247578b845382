"""The five stages in one process behind the real talk service: small engines, real everything else."""

import asyncio
import io
import itertools

import av
import grpc
import numpy as np
import pytest

from avatar.errors import ModelServerUnreachable
from services.settings import Limits
from services.stage import Engine
from talkingmachines_api.v1 import talk_pb2
from tests.fakes.graph import (
    FakeGraph,
    Parts,
    fake_graph,
    long_wav,
    spoken_question,
    video_of,
)

pytestmark = pytest.mark.integration


async def test_a_text_becomes_a_video_as_long_as_its_sound() -> None:
    async with fake_graph() as graph:
        events = await graph.say("one two three four five six seven. and eight nine ten")
        kinds = [event.WhichOneof("event") for event in events]
        assert [kind for kind, _ in itertools.groupby(kinds)][-2:] == ["video", "summary"]
        summary = events[-1].summary
        with av.open(io.BytesIO(video_of(events))) as file:
            frames = sum(1 for _ in file.decode(video=0))
        with av.open(io.BytesIO(video_of(events))) as file:
            samples = sum(frame.samples for frame in file.decode(audio=0))
            sound_s = samples / file.streams.audio[0].rate
        assert frames == summary.frame_count
        assert abs(frames / 25 - sound_s) <= 1 / 25
        assert abs(frames / 25 - summary.audio_seconds) < 1e-6
        assert await graph.leftovers() == {}
