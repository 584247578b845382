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
from avatar.media import SPEECH_RATE, CueName
from avatar.speech.marker import COUNT, counter_start
from avatar.speech.tones import Tone, read_tones
from services.gateway.events import CancelResponse, Cue
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

    def shown(self, cue: CueName) -> set[int]:
        """Numbers of the chunks that show that the score worker was told a cue."""
        return {mark.frame // 12 for _, mark in self.marks if mark is not None and mark.cue == cue}

    def ask(self, cue: CueName) -> None:
        self.live.handle(Cue(type="avatar.cue", name=cue))


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


def test_a_callers_cue_is_in_the_next_chunk_that_is_made_and_no_earlier() -> None:
    made = []
    call = Call()

    async def story() -> None:
        for _ in range(12):
            await asyncio.sleep(1.3)
            made.append(len(call.session.sent))
            call.ask("nod")
            call.ask("nod")  # shown once
        await asyncio.sleep(2)

    call.run(story())
    assert call.shown("nod") == set(made)
    assert sum(chunk.cues.count("nod") for chunk in call.session.sent) == len(made)


def test_a_call_begins_with_a_smile() -> None:
    call = Call()
    call.run(asyncio.sleep(3))
    assert call.shown("smile") == {0}


TEXT = "[nod] One two three [look left] four five six seven, eight [bow] nine [tilt]."
SYMBOLS: dict[CueName, int] = {"nod": CUT_FADE_FRAMES, "look_left": 24, "bow": 64, "tilt": 71}
"""The first readable ones of the words after them, of eight each; the last one of the last word."""


def test_an_answers_cues_are_in_the_chunks_of_their_words() -> None:
    call = Call()

    async def story() -> None:
        await asyncio.sleep(2.2)
        call.session.say_marks(TEXT)
        await asyncio.sleep(6)

    call.run(story())
    start = counter_start("One two three four five six seven, eight nine.")
    for cue, symbol in SYMBOLS.items():
        told = (start + symbol) % COUNT
        spoken = {m.frame // 12 for _, m in call.marks if m is not None and m.symbol == told}
        assert call.shown(cue) == spoken, cue
    (caption,) = call.peer.told("response.output_audio_transcript.delta")
    assert caption["delta"] == "One two three four five six seven, eight nine."


def test_cues_of_an_answer_that_is_interrupted_are_never_shown() -> None:
    call = Call()

    async def story() -> None:
        await asyncio.sleep(2)
        call.session.say_marks("one two three four five six [bow] seven eight.")
        await asyncio.sleep(1.2)
        call.live.handle(CancelResponse(type="response.cancel"))
        call.ask("nod")
        await asyncio.sleep(4)

    call.run(story())
    assert call.shown("bow") == set()
    assert len(call.shown("nod")) == 1


def test_the_score_worker_is_told_what_the_face_does_as_it_changes() -> None:
    call = Call()

    async def story() -> None:
        await asyncio.sleep(2)
        call.session.say("speech_started")
        await asyncio.sleep(2)
        call.session.say("speech_stopped", seconds=0.3)
        await asyncio.sleep(2)
        call.session.say_marks("one two three four five six seven eight.")
        await asyncio.sleep(6)

    call.run(story())
    told = [chunk.behaviour for chunk in call.session.sent]
    changes = [each for at, each in enumerate(told) if at == 0 or told[at - 1] != each]
    assert changes == ["idle", "listening", "thinking", "speaking", "idle"]
    for _, mark in call.marks:
        if mark is not None:
            assert mark.behaviour == told[mark.frame // 12]
            assert mark.symbol is None or mark.behaviour == "speaking"


def test_a_caller_who_speaks_while_an_answer_is_made_is_listened_to() -> None:
    call = Call()

    async def story() -> None:
        await asyncio.sleep(1)
        call.session.say("speech_started")
        call.session.say("speech_stopped", seconds=0.3)
        await asyncio.sleep(2)
        call.session.say("speech_started")
        await asyncio.sleep(2)

    call.run(story())
    told = [chunk.behaviour for chunk in call.session.sent]
    changes = [each for at, each in enumerate(told) if at == 0 or told[at - 1] != each]
    assert changes == ["idle", "thinking", "listening"]
