"""The command line against the real services and stages, with small engines."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from tests.fakes.engines import CountedPainter
from tests.fakes.examples import environment
from tests.fakes.graph import FakeGraph, Parts, fake_graph

pytestmark = pytest.mark.integration


async def shown(graph: FakeGraph, *arguments: str, typed: str = "") -> tuple[int, str]:
    """Exit code and stdout of `talkingmachines`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "talkingmachines",
        *arguments,
        env=environment(f"127.0.0.1:{graph.gateway.grpc_port}"),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )
    out, errors = await process.communicate(typed.encode())
    assert process.returncode is not None
    return process.returncode, out.decode() + errors.decode() * bool(process.returncode)


async def value(graph: FakeGraph, *arguments: str) -> Any:
    code, text = await shown(graph, *arguments, "--json")
    assert code == 0, text
    return json.loads(text)


async def test_doctor_finds_the_graph_well() -> None:
    async with fake_graph() as graph:
        found = await value(graph, "doctor", "--http", str(graph.http.base_url))

        verdicts = {(each["check"], each["verdict"]) for each in found}
        assert {("port", "ok"), ("ready", "ok"), ("key", "ok"), ("http", "ok")} <= verdicts
        assert {("version", "ok"), ("clock", "ok"), ("pool", "ok")} <= verdicts
        assert "FAIL" not in {each["verdict"] for each in found}
        assert await graph.leftovers() == {}


async def test_talk_records_a_conversation(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    async with fake_graph() as graph:
        typed = "What is it?\n/cue nod\n/say One two three.\n"
        code, text = await shown(graph, "talk", "--save", str(path), typed=typed)

        assert code == 0, text
        said = text.splitlines()
        assert said == ["avatar: One.", "avatar: Two.", "avatar: One two three."]
        assert await graph.leftovers() == {}
    with av.open(path, "r") as file:
        assert sum(1 for _ in file.decode(video=0)) > 10


async def test_operators_see_the_graph_and_drain_a_worker() -> None:
    async with fake_graph() as graph:
        workers = await value(graph, "workers")
        assert {worker["stage"] for worker in workers} >= {"audio_llm", "vae_decoder"}
        assert await value(graph, "sessions") == {"sessions": [], "silent_gateways": []}
        decoder = next(worker["id"] for worker in workers if worker["stage"] == "vae_decoder")
        code, text = await shown(graph, "drain", decoder, "--until-empty")

        assert (code, text) == (0, f"{decoder} takes no new sessions; it has 0.\n")


async def test_operators_see_what_a_chunk_costs_a_worker() -> None:
    painter = CountedPainter(0.15)
    parts = Parts(painter=lambda: painter, clocks=[painter.clock])
    async with fake_graph(slots=3, parts=parts) as graph:
        _, text = await shown(graph, "workers")
    [score] = [line for line in text.splitlines() if " score_worker " in line]
    assert " 0/2 150.0 of 480 ms a session: time for 2 mira" in " ".join(score.split())
    [decoder] = [line for line in text.splitlines() if " vae_decoder " in line]
    assert decoder.split()[-3:] == ["0/3", "-", "-"]


async def test_bench_counts_who_was_served_and_who_refused() -> None:
    async with fake_graph(slots=2) as graph:
        told = await value(graph, "bench", "--sessions", "3", "--seconds", "3")

        assert (told["opened"], told["refused"], told["lost"]) == (2, {"NO_FREE_SLOT": 1}, {})
        assert told["unanswered"] == 0
        assert told["say_s"]["count"] >= 2
        assert told["ask_s"]["count"] >= 2
        assert await graph.leftovers() == {}


async def test_bench_calls_as_browsers_do() -> None:
    async with fake_graph(slots=2) as graph:
        url = str(graph.http.base_url)
        told = await value(graph, "bench", "--sessions", "3", "--seconds", "3", "--webrtc", url)

        assert (told["opened"], told["refused"], told["lost"]) == (2, {"NO_FREE_SLOT": 1}, {})
        assert told["unanswered"] == 0
        assert told["say_s"]["count"] >= 2
        assert told["picture_gap_s"]["count"] == told["sound_gap_s"]["count"] == 2
        assert await graph.leftovers() == {}
