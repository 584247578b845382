"""A spoken question into the page in Chromium, against the real graph."""

from pathlib import Path

import pytest

from avatar.audio.files import encode_wav
from bench.clips import questions
from bench.live_page import one_call, spoken_script, values_of
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
