"""Another avatar goes on with a call: between two chunks, over the same leases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pytest

from avatar.errors import NotFound
from avatar.media import FrameChunk, LatentChunk
from avatar.transport import OpenRequest
from services.gateway.events import Cue, Say, Swap, parse
from services.gateway.live import LiveSession
from services.settings import AppConfig
from tests.fakes.engines import CLOCK
from tests.fakes.graph import FakeGraph, Parts, fake_graph, until
from tests.fakes.live import FakePeer

pytestmark = pytest.mark.integration

SHADES = {"mira": 10, "finn": 20, "hana": 30}


class ShadedDecoder:
    """Each avatar is a shade of grey; knows how many sessions began with it."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def init_state(self, request: OpenRequest, /) -> int:
        self.begun.append(request.avatar)
        return SHADES[request.avatar]

    def step(self, chunk: LatentChunk, state: int, /) -> tuple[FrameChunk, int]:
        shape = (chunk.latents.shape[0] * CLOCK.frames_per_latent, 32, 32, 3)
        return FrameChunk(chunk.stamp, np.full(shape, state, np.uint8), chunk.last), state


@dataclass
class ShadedCall:
    graph: FakeGraph
    live: LiveSession
    peer: FakePeer
    decoder: ShadedDecoder

    @property
    def shades(self) -> list[int]:
        return [
            picture.pixels[0, 0, 0] for _, block in self.peer.blocks for picture in block.pictures
        ]

    async def show(self, avatar: str) -> None:
        await until(lambda: self.shades[-1:] == [SHADES[avatar]])


@asynccontextmanager
async def call() -> AsyncIterator[ShadedCall]:
    decoder = ShadedDecoder()
    async with fake_graph(parts=Parts(decoder=lambda: decoder), slots=1) as graph:
        decoder.begun.clear()  # the first video
        async with graph.gateway.coordinator.session("mira", live=True) as session:
            live = LiveSession(session, AppConfig())
            peer = FakePeer()
            running = asyncio.create_task(live.run())
            live.attach(peer)
            made = ShadedCall(graph, live, peer, decoder)
            await made.show("mira")
            try:
                yield made
            finally:
                live.end("hung_up")
                await running
        assert await graph.leftovers() == {}


def swap(avatar: str) -> Swap:
    event = parse(f'{{"type": "avatar.swap", "avatar": "{avatar}"}}')
    assert isinstance(event, Swap)
    return event


async def test_the_other_avatar_goes_on_where_the_first_one_stops() -> None:
    async with call() as made:
        made.live.handle(swap("finn"))
        await made.show("finn")
        made.live.handle(swap("mira"))
        await made.show("mira")
        # between two of them the picture fades
        faces = [shade for shade in made.shades if shade in SHADES.values()]
        assert [shade for shade, _ in groupby(faces)] == [10, 20, 10]
        assert len(made.shades) - len(faces) < 12
        assert [told["avatar"] for told in made.peer.told("avatar.swapped")] == ["finn", "mira"]
        assert made.decoder.begun == ["mira", "finn", "mira"]
        assert made.live.describe()["avatar"] == "mira"


async def test_who_asks_for_several_at_once_gets_the_last() -> None:
    async with call() as made:
        for avatar in ("finn", "mira", "hana"):
            made.live.handle(swap(avatar))
        await made.show("hana")
        assert made.decoder.begun == ["mira", "hana"]


async def test_the_one_that_is_there_is_not_opened_anew() -> None:
    async with call() as made:
        made.live.handle(swap("mira"))
        made.live.handle(Cue(type="avatar.cue", name="nod"))
        num_pictures = len(made.shades)
        await until(lambda: len(made.shades) > num_pictures + 24)
        assert made.decoder.begun == ["mira"]
        assert made.peer.told("avatar.swapped") == []


async def test_an_avatar_that_is_none_changes_nothing() -> None:
    async with call() as made:
        with pytest.raises(NotFound, match="nobody"):
            made.live.handle(swap("nobody"))
        num_pictures = len(made.shades)
        await until(lambda: len(made.shades) > num_pictures + 24)
        assert made.decoder.begun == ["mira"]


async def test_it_cuts_the_other_off_and_speaks_itself() -> None:
    async with call() as made:
        made.live.handle(Say(type="avatar.say", text="One two three four five six seven."))
        await until(lambda: bool(made.peer.told("avatar.playback.started")))
        made.live.handle(swap("finn"))
        await until(lambda: bool(made.peer.told("avatar.playback.finished")))
        assert made.peer.told("avatar.playback.finished")[0]["interrupted"] is True
        await made.show("finn")
        num_pictures = len(made.shades)
        made.live.handle(Say(type="avatar.say", text="Hello."))
        await until(lambda: len(made.peer.told("avatar.playback.finished")) == 2)
        assert made.peer.told("avatar.playback.finished")[1]["interrupted"] is False
        assert set(made.shades[num_pictures:]) == {SHADES["finn"]}


async def test_a_call_ends_in_the_middle_of_a_swap() -> None:
    async with call() as made:
        made.live.handle(swap("finn"))
