"""What a session plays, encoded once; on a clock that the tests hold."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from av.packet import Packet

from avatar.timebase import TICKS_PER_SECOND
from services.gateway.encoders import PICTURE_RATE
from services.gateway.feed import VIEWERS_WHOLE_INTERVAL_S, WHOLE_INTERVAL_S, Feed
from services.gateway.media import BLOCK_SAMPLES, BLOCK_TICKS, Block, Picture
from services.gateway.sdp import PictureCodec
from services.gateway.tracks import MAX_PICTURES, PictureTrack
from tests.fakes.calls import ManualClock
from tests.fakes.live_edge import InlineExecutor, settled

pytestmark = pytest.mark.unit

PICTURE_S = 2 * BLOCK_TICKS / TICKS_PER_SECOND


@dataclass(eq=False)
class FakeOutlet:
    """Keeps what it is given."""

    codec: PictureCodec = "VP8"
    sound: "list[Packet[Any]]" = field(default_factory=list)
    pictures: "list[Packet[Any]]" = field(default_factory=list)
    has_failed: bool = False

    def take_sound(self, packet: "Packet[Any]") -> None:
        self.sound.append(packet)

    def take_picture(self, packet: "Packet[Any]") -> None:
        self.pictures.append(packet)

    def fail(self) -> None:
        self.has_failed = True

    @property
    def wholes(self) -> list[int]:
        """Which of its pictures are whole."""
        return [i for i, packet in enumerate(self.pictures) if packet.is_keyframe]


class Stage:
    """A feed, its clock, and somebody who plays."""

    def __init__(self, executor: Executor) -> None:
        self.clock = ManualClock()
        self.feed = Feed(executor, self.clock)
        self.at = 0
        self.outlets: list[FakeOutlet] = []
        self._noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)

    def join(self, codec: PictureCodec = "VP8", *, leads: bool = False) -> FakeOutlet:
        outlet = FakeOutlet(codec)
        self.feed.join(outlet, leads=leads)
        self.outlets.append(outlet)
        return outlet

    async def play(self, num_pictures: int) -> None:
        """So many pictures, each as long as it lasts, and their sound."""
        for n in range(2 * num_pictures):
            pictures = () if n % 2 else (Picture(self.at, np.roll(self._noise, n, 0)),)
            self.feed.play(Block(self.at, np.zeros(BLOCK_SAMPLES, np.int16), pictures))
            self.at += BLOCK_TICKS
            self.clock.now += BLOCK_TICKS / TICKS_PER_SECOND
            await settled()

    async def play_s(self, seconds: float) -> None:
        await self.play(round(seconds / PICTURE_S))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage(InlineExecutor())
    yield made
    for outlet in made.outlets:
        made.feed.leave(outlet)
    await asyncio.sleep(0)


async def test_everybody_gets_the_same_packets(stage: Stage) -> None:
    caller, viewer = stage.join(leads=True), stage.join()
    await stage.play(10)
    assert len(caller.pictures) == 10
    assert [id(each) for each in viewer.pictures] == [id(each) for each in caller.pictures]
    assert [id(each) for each in viewer.sound] == [id(each) for each in caller.sound]


async def test_each_codec_is_encoded_while_somebody_takes_it(stage: Stage) -> None:
    caller, viewer = stage.join(leads=True), stage.join("H264")
    assert stage.feed.codec == "VP8"
    await stage.play(3)
    assert len(caller.pictures) == len(viewer.pictures) == 3
    assert bytes(caller.pictures[0]) != bytes(viewer.pictures[0])
    stage.feed.leave(viewer)
    await stage.play(3)
    assert (len(caller.pictures), len(viewer.pictures)) == (6, 3)
    assert stage.feed.bits_per_s("H264") == 0


async def test_twenty_who_join_share_one_whole_picture(stage: Stage) -> None:
    caller = stage.join(leads=True)
    await stage.play_s(VIEWERS_WHOLE_INTERVAL_S + 1)
    assert caller.wholes == [0]
    before = len(caller.pictures)
    for _ in range(20):
        stage.join()
        await stage.play(1)
    await stage.play_s(VIEWERS_WHOLE_INTERVAL_S)
    first, second = caller.wholes[1:]
    assert first == before
    assert second - first == pytest.approx(VIEWERS_WHOLE_INTERVAL_S / PICTURE_S, abs=1)


async def test_a_caller_waits_for_no_viewer_s_turn(stage: Stage) -> None:
    caller, viewer = stage.join(leads=True), stage.join()
    await stage.play_s(WHOLE_INTERVAL_S + PICTURE_S)
    stage.feed.want_whole(viewer)
    stage.feed.want_whole(caller)
    stage.feed.want_whole(viewer)
    await stage.play(1)
    assert caller.wholes == [0, len(caller.pictures) - 1]


async def test_a_viewer_who_asks_all_the_time_gets_few(stage: Stage) -> None:
    caller, viewer = stage.join(leads=True), stage.join()
    for _ in range(100):
        stage.feed.want_whole(viewer)
        await stage.play(1)
    assert len(caller.wholes) == 1 + int(100 * PICTURE_S / VIEWERS_WHOLE_INTERVAL_S - 0.01)


async def test_the_caller_s_network_says_the_rate_and_no_viewer_s(stage: Stage) -> None:
    caller, viewer = stage.join(leads=True), stage.join()
    await stage.play_s(2)
    start = stage.feed.bits_per_s("VP8")
    stage.feed.on_estimate(viewer, 10_000)
    assert stage.feed.bits_per_s("VP8") == start
    stage.feed.on_estimate(caller, 10_000)
    lowered = stage.feed.bits_per_s("VP8")
    assert lowered < start
    stage.feed.leave(caller)
    await stage.play(3)
    assert stage.feed.bits_per_s("VP8") == lowered
    stage.join(leads=True)  # another connection, another network
    await stage.play(1)
    assert stage.feed.bits_per_s("VP8") == start


async def test_a_new_caller_s_connection_replaces_the_old_one(stage: Stage) -> None:
    old = stage.join(leads=True)
    await stage.play(2)
    new = stage.join(leads=True)
    await stage.play(2)
    assert (len(old.pictures), len(new.pictures)) == (2, 2)
    assert new.wholes == [0]


async def test_who_leaves_twice_or_never_came_is_no_trouble(stage: Stage) -> None:
    outlet = stage.join()
    for _ in range(2):
        stage.feed.leave(outlet)
        stage.feed.want_whole(outlet)
    stage.feed.leave(FakeOutlet())
    await stage.play(1)
    assert outlet.pictures == []


async def test_while_the_caller_is_away_time_goes_on_for_viewers(stage: Stage) -> None:
    caller, viewer = stage.join(leads=True), stage.join()
    await stage.play(5)
    stage.feed.leave(caller)
    stage.clock.now += 7.0  # nothing is played, and the call's clock stands
    stage.join(leads=True)
    await stage.play(5)
    stamps = np.array([packet.pts for packet in viewer.pictures]) / PICTURE_RATE
    steps = np.diff(stamps)
    assert steps[4] == pytest.approx(7.0 + PICTURE_S, abs=0.021)
    assert np.delete(steps, 4) == pytest.approx(PICTURE_S)
    heard = np.array([packet.pts for packet in viewer.sound]) / TICKS_PER_SECOND
    assert stamps - heard[::2] == pytest.approx(0, abs=1e-4)


class FailingEncoder:
    def encode(self, *arguments: object, **options: object) -> None:
        raise ValueError("no such picture")


async def test_what_cannot_be_encoded_ends_connections_and_not_the_session(stage: Stage) -> None:
    caller, viewer = stage.join(leads=True), stage.join("H264")
    stage.feed._streams["VP8"]._encoder = FailingEncoder()  # type: ignore[assignment]
    await stage.play(1)
    assert (caller.has_failed, viewer.has_failed) == (True, False)
    stage.feed._sound = FailingEncoder()  # type: ignore[assignment]
    await stage.play(1)
    assert viewer.has_failed


def packet(n: int, *, is_whole: bool = False) -> "Packet[Any]":
    made: Packet[Any] = Packet(b"picture")
    made.pts, made.is_keyframe = n, is_whole
    return made


async def test_a_slow_connection_goes_on_with_a_whole_picture() -> None:
    wishes: list[int] = []
    track = PictureTrack(lambda: wishes.append(1))
    track.put(packet(0))  # nothing that it could build on
    track.put(packet(1, is_whole=True))
    for n in range(2, 2 * MAX_PICTURES):
        track.put(packet(n))
    assert len(wishes) == 1
    track.put(packet(50, is_whole=True))
    track.put(packet(51))
    assert [(await track.recv()).pts for _ in range(2)] == [50, 51]
    assert track.num_dropped == MAX_PICTURES
    track.stop()
