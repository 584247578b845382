"""Calls of 16 frames a second, 8 a chunk, upright: at a receiver, and on the page."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from avatar.engines.pattern import read
from bench.live_av import Part, one_call
from bench.receiver_browser import call_on, hang_up, measuring_page, send, taken, until_told
from bench.server import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FRAME_RTP = 90_000 // 16


@pytest.fixture(scope="module")
def upright() -> Iterator[Server]:
    with Server({"PROFILE": "marker-16", "RUNTIME": "inproc"}) as running:
        yield running


async def test_the_picture_belongs_to_the_sound_also_after_stalls(upright: Server) -> None:
    script = [
        Part("score worker", "Mark 4. Stall 800 score_worker. Mark 5."),
        Part("VAE decoder", "Mark 4. Stall 800 vae_decoder. Mark 5."),
    ]
    values = await one_call(upright, script)
    assert values["offset"]["count"] >= 2 * 9 * 16 - 20  # but for those in cross-fades
    assert values["only_shown"] <= 2
    assert values["offset"]["p95"] <= 60
    assert abs(values["drift_ms"]) <= 5
    for stall in values["stalls"]:
        assert stall["after"]["p95"] <= 60
        assert abs(stall["shift_ms"]) <= 5


async def test_the_page_shows_all_frames_upright_and_62_5_ms_apart(upright: Server) -> None:
    async with measuring_page(upright.url) as page:
        await call_on(page, "mira")
        await send(page, "avatar.say", text="Mark 3.")
        await until_told(page, "avatar.playback.finished")
        size = await page.evaluate(
            "(({ videoWidth, videoHeight }) => [videoWidth, videoHeight])"
            "(document.querySelector('#video'))"
        )
        call = await taken(page)
        await hang_up(page)
    assert size == [240, 320]
    seen = [
        (int(each.about["rtpTimestamp"]), mark)
        for each in call.pictures
        if (mark := read(each.small)) is not None
    ]
    assert len({mark.symbol for _, mark in seen} - {None}) >= 3 * 16 - 10
    steps = [
        ((later - rtp) % (1 << 32), after.frame - mark.frame)
        for (rtp, mark), (later, after) in pairwise(seen)
    ]
    whole = [(rtp, frames) for rtp, frames in steps if frames > 0]
    assert len(whole) > 40
    assert {rtp for rtp, frames in whole if frames == 1} <= {FRAME_RTP}
