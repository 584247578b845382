"""A spoken question into the page in Chromium, against the real graph."""

from pathlib import Path

import pytest

from avatar.audio.files import encode_wav
from bench.clips import questions
from bench.live_page import one_call, spoken_script, values_of
from bench.receiver_browser import call_on, hang_up, measuring_page, send, until_told
from bench.receiver_tracks import SOUND_RATE
from bench.server import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SECONDS = 26


async def test_a_spoken_question_is_captioned_and_answered_by_a_mouth_that_says_the_words(
    graph: Server, tmp_path: Path
) -> None:
    asked = questions()[:1]
    mic = tmp_path / "mic.wav"
    mic.write_bytes(encode_wav(spoken_script(asked, SECONDS), SOUND_RATE))
    call, shown = await one_call(graph.url, mic, SECONDS)
    values = values_of(call, shown, asked)
    assert values["turns"][0]["wer"] <= 0.3
    assert values["on_the_page"]["user"][0] == values["turns"][0]["heard"]
    assert values["on_the_page"]["assistant"][0] == values["answers"][0]["text"]
    answer = values["answers"][0]
    assert answer["correlation"] >= 0.5
    assert answer["others"] <= 0.2
    assert answer["rest"] <= 0.15
    assert values["idle_moving"] >= 0.5
    assert values["fps"] > 5  # how fast is the benchmark's question


async def test_a_reload_comes_back_to_the_same_conversation_and_face(graph: Server) -> None:
    async with measuring_page(graph.url) as page:
        await call_on(page, "zuri")
        await send(page, "avatar.say", text="The comet comes back as well.")
        await until_told(page, "avatar.playback.finished")
        await page.reload()
        await page.locator("#call[data-phase=live]").wait_for()
        created = await page.evaluate("toldFirst('session.created')")
        assert created["session"]["avatar"] == "zuri"
        assert created["items"][-1]["text"] == "The comet comes back as well."
        said = page.locator("#items .assistant p").last
        await said.wait_for()
        assert await said.inner_text() == "The comet comes back as well."
        await send(page, "avatar.say", text="So do I.")
        await until_told(page, "avatar.playback.finished")
        await hang_up(page)
