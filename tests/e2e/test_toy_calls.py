"""Toys of the GPU-class models, from their makers' files to a call in the browser, on a CPU."""

import asyncio
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

from avatar.cast.profiles import Profile
from bench.receiver import Receiver, booked
from bench.receiver_browser import call_on, hang_up, measuring_page, send, taken, until_told
from bench.server import Server
from talkingmachines import Client
from tests.fakes.toys import toy_profile

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TEXT = "The tide is coming in, slowly."


@pytest.fixture(scope="module", params=["realvideo", "tm-18b"])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return toy_profile(request.param, tmp_path_factory.mktemp("toy"), num_portraits=2)


@pytest.fixture(scope="module")
def server(toy: Profile) -> Iterator[Server]:
    """RealVideo's on Ray, as `make run` starts it; the paper's in one process."""
    runtime = "ray" if toy.clock.fps == 16 else "inproc"
    with Server({"PROFILE": str(toy.folder), "RUNTIME": runtime, "SLOTS": "1"}) as running:
        yield running
        assert running.stop() == []


async def test_the_page_shows_an_answer_at_the_profiles_rate(toy: Profile, server: Server) -> None:
    async with measuring_page(server.url) as page:
        await call_on(page, "mira")
        await send(page, "avatar.say", text=TEXT)
        await until_told(page, "avatar.playback.finished", wait_s=120)
        call = await taken(page)
        await hang_up(page)
    [finished] = call.told("avatar.playback.finished")
    assert finished["event"]["text_heard"] == TEXT
    sizes = {(each.about["width"], each.about["height"]) for each in call.pictures}
    assert sizes == {(toy.width, toy.height)}
    if toy.policy.noise == "fresh":  # noise that moves; the other toy hears nothing, and stands
        changes = [
            np.abs(after.small.astype(int) - each.small.astype(int)).mean()
            for each, after in pairwise(call.pictures)
        ]
        assert np.mean(np.array(changes) > 0.5) > 0.5
    steps = np.diff([float(each.about["rtpTimestamp"]) for each in call.pictures])
    assert np.median(steps) == 90_000 / toy.clock.fps
    assert np.abs(call.sound.astype(float)).max() > 1000


async def test_sound_and_picture_keep_one_time(toy: Profile, server: Server) -> None:
    receiver = Receiver(lambda picture: picture.width)
    async with booked(server.url) as booking, receiver.connected(booking) as call:
        assert booking.created["profile"] == {
            "fps": toy.clock.fps,
            "chunk_s": toy.clock.chunk_s,
            "width": toy.width,
            "height": toy.height,
        }
        call.say(TEXT)
        await call.event("avatar.playback.finished", wait_s=120)
    last_sound = call.sound.due_s(call.sound.received[-1].rtp)
    last_picture = call.pictures.due_s(call.pictures.received[-1].rtp)
    # by the sender's own word (RTCP) both tracks are of one clock, and end together
    assert abs(last_picture - last_sound) < 2 / toy.clock.fps + 0.04
    assert await until_gone(server, booking.created["id"])


async def until_gone(server: Server, id: str) -> bool:
    """Whether nothing is left of a session, a moment after its end."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as client:
        for _ in range(50):
            listed = (await client.get("/v1/sessions")).json()
            if all(each["id"] != id for each in listed["sessions"]):
                return True
            await asyncio.sleep(0.2)
    return False


def test_a_file_is_as_long_as_its_sound(toy: Profile, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "said.mp4"
    with Client(server.address) as client:
        client.say(TEXT, avatar="otto").save(path)
    with av.open(str(path)) as file:
        rate, num_frames = file.streams.video[0].average_rate, file.streams.video[0].frames
        size = file.streams.video[0].height, file.streams.video[0].width
    assert rate == Fraction(toy.clock.fps)
    assert size == (toy.height, toy.width)
    assert num_frames % toy.clock.frames_per_chunk == 0
    with av.open(str(path)) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
        sound_s = samples / file.streams.audio[0].rate
    assert abs(num_frames / toy.clock.fps - sound_s) < 1 / toy.clock.fps
