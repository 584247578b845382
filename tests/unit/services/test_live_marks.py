"""A live session plays marks: sound and picture of one instant belong together, come what may."""

import asyncio
import random
from collections.abc import Coroutine
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio.resample import resample
from avatar.engines.pattern import Mark, read
from avatar.media import SPEECH_RATE
from avatar.speech.marker import COUNT
from avatar.speech.tones import Tone, read_tones
from services.gateway.events import CancelResponse
from services.gateway.live import LiveSession
from services.gateway.media import BLOCK_SAMPLES, PLAYED_RATE
from services.gateway.playout import CUT_FADE_FRAMES
from services.settings import AppConfig
from tests.fakes.live import FakePeer
from tests.fakes.marker_session import MarkerSession
from tests.fakes.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit


class Call:
    def __init__(self, latency_s: float = 0.25) -> None:
        self.session, self.peer = MarkerSession(latency_s=latency_s), FakePeer()

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        async def main() -> None:
            clock = asyncio.get_running_loop().time
            self.live = LiveSession(self.session.as_session, AppConfig(profile="marker"), clock)
            running = asyncio.create_task(self.live.run())
            self.live.attach(self.peer)
            try:
                await story
            finally:
                self.live.end("hung_up")
                await running

        in_virtual_time(main())

    @cached_property
    def tones(self) -> list[Tone]:
        """What was heard, in seconds of the call's clock."""
        first = self.peer.blocks[0][1].at
        length = self.peer.blocks[-1][1].at + BLOCK_SAMPLES - first
        sound = np.zeros(length, np.float32)
        for _, block in self.peer.blocks:
            sound[block.at - first :][:BLOCK_SAMPLES] = block.sound / 32768
        heard = read_tones(resample(sound, PLAYED_RATE, SPEECH_RATE))
        return [Tone(tone.start_s + first / PLAYED_RATE, tone.symbol) for tone in heard]

    @cached_property
    def marks(self) -> list[tuple[float, Mark | None]]:
        """What was seen, in seconds of the call's clock."""
        return [
            (picture.at / PLAYED_RATE, read(picture.pixels))
            for _, block in self.peer.blocks
            for picture in block.pictures
        ]


def offsets_ms(call: Call) -> NDArray[np.float64]:
    """Picture less sound, of each number that was both seen and heard."""
    tones, found, last = call.tones, [], None
    for at, mark in call.marks:
        if mark is None or mark == last or mark.symbol is None:
            continue
        last = mark
        shown = at + mark.phase_ms / 1000
        same = [tone.start_s for tone in tones if tone.symbol == mark.symbol]
        if same:
            found.append(1000 * min((shown - heard for heard in same), key=abs))
    return np.array(found)


def test_every_tone_sounds_with_its_picture() -> None:
    call = Call()

    async def story() -> None:
        await asyncio.sleep(3)
        call.session.say_marks("mark 5.", "mark 5 from 125.")
        await asyncio.sleep(14)

    call.run(story())
    assert [tone.symbol for tone in call.tones] == [n % COUNT for n in range(250)]
    found = offsets_ms(call)
    assert len(found) == 250 - CUT_FADE_FRAMES  # between idling and speaking the picture fades
    assert np.abs(found).max() <= 1


@pytest.mark.parametrize("stage", ["audio_encoder", "score_worker", "vae_decoder"])
def test_a_stalled_stage_parts_no_tone_from_its_picture(stage: str) -> None:
    call = Call()

    async def story() -> None:
        await asyncio.sleep(2)
        call.session.say_marks("mark 4.", f"stall 700 {stage}.", "mark 4 from 100.")
        await asyncio.sleep(13)

    call.run(story())
    assert len(call.tones) == 202
    assert sum(event["stalls"] for event in call.peer.told("avatar.quality")) >= 1
    found = offsets_ms(call)
    assert len(found) == 202 - CUT_FADE_FRAMES
    assert np.abs(found).max() <= 1


def test_no_tone_is_heard_and_no_picture_seen_after_an_interruption() -> None:
    rng, cuts = random.Random(4), []
    call = Call()

    async def story() -> None:
        await asyncio.sleep(2)
        for epoch in range(8):
            call.session.say_marks(f"mark 20 from {30 * epoch}.", epoch=epoch)
            await asyncio.sleep(rng.uniform(1.0, 4.0))
            call.live.handle(CancelResponse(type="response.cancel"))
            cuts.append((call.peer.blocks[-1][1].at + BLOCK_SAMPLES) / PLAYED_RATE)
            await asyncio.sleep(2)

    call.run(story())
    assert len(call.peer.told("output_audio_buffer.cleared")) == 8
    for epoch, cut in enumerate(cuts):
        until = cuts[epoch + 1] if epoch < 7 else cut + 2
        first = 30 * (epoch + 1)
        later = [tone.symbol for tone in call.tones if cut < tone.start_s < until]
        assert later[:1] == ([first] if epoch < 7 else [])
        old = [(at, mark) for at, mark in call.marks if cut + 0.001 < at < cut + 12 * 0.04]
        rest = next(i for i, (_, mark) in enumerate(old) if mark and mark.symbol is None)
        assert rest < 12
        assert all(mark is None or mark.symbol is None for _, mark in old[rest:])
