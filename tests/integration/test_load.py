"""The load generator at a graph that is real but for its models."""

from pathlib import Path

import numpy as np
import pytest

from avatar.audio.files import decode
from avatar.media import SPEECH_RATE
from bench.load import load, main, report, summary
from bench.load_caller import Script
from tests.fakes.graph import Parts, fake_graph, spoken_question
from tests.fakes.speech import GivenChat

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ANSWER = [
    "This answer is long, so that there is time enough to speak into it, and to be heard."
] * 4


async def test_callers_speak_interrupt_and_one_too_many_is_refused() -> None:
    clip = decode(spoken_question(), SPEECH_RATE)
    script = Script([np.concatenate([clip, np.zeros(3200, np.float32)])], interrupts=1.0)
    async with fake_graph(slots=1, parts=Parts(chat=GivenChat(ANSWER))) as graph:
        url = str(graph.http.base_url)
        values = await load(url, script, callers=2, ramp_s=1.0, seconds=12.0)
        assert await graph.leftovers() == {}
    told = summary(values)
    assert told["asked"] == 2
    assert told["refused"] == {"503 NO_FREE_SLOT": 1}
    assert told["lost"] == {}
    assert told["connect_s"]["count"] == 1
    assert told["response_s"]["count"] >= 2
    assert 0 < told["response_s"]["p50"] < 10
    assert told["stop_ms"]["count"] >= 1
    assert "1 of 503 NO_FREE_SLOT" in report(values)
    assert abs(told["behind_ms"]["p50"]) < 200


async def test_who_interrupts_nobody_hears_every_answer_out() -> None:
    script = Script([decode(spoken_question(), SPEECH_RATE)], interrupts=0.0)
    async with fake_graph(slots=1, parts=Parts(chat=GivenChat(ANSWER))) as graph:
        url = str(graph.http.base_url)
        told = summary(await load(url, script, callers=1, ramp_s=0.0, seconds=10.0))
    assert told["response_s"]["count"] >= 1
    assert (told["stop_ms"]["count"], told["unanswered"]) == (0, 0)


async def test_a_server_that_is_not_there_loses_every_caller() -> None:
    nothing = Script([], 0.0)
    values = await load("http://127.0.0.1:9", nothing, callers=2, ramp_s=0.0, seconds=0.0)
    assert sum(summary(values)["lost"].values()) == 2


def test_no_call_at_all_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "load.json"
    options = ["--callers", "1", "--ramp", "0", "--seconds", "0", "--json", str(file)]
    assert main(["--url", "http://127.0.0.1:9", *options]) == 1
    assert '"asked": 1' in file.read_text()
    assert "ConnectError" in capsys.readouterr().out
