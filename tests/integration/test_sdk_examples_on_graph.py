"""Every example of the SDK against the real services and stages, with small engines."""

import asyncio
import signal
from pathlib import Path

import numpy as np
import pytest

from avatar.audio.files import decode
from services.gateway.recipes import Recipes
from tests.fakes.examples import ARGUMENTS, command, environment, is_anybody_left, write_wav
from tests.fakes.graph import FakeGraph, fake_graph, spoken_question, until
from tests.fakes.recipe import GatedRecipe

pytestmark = pytest.mark.integration

SHOWN = {
    "say_to_file.py": "a.mp4: ",
    "watch_an_answer.py": "You asked: what is it",
    "all_avatars.py": "mira.mp4",
    "own_llm.py": "words heard)",
    "batch_render.py": "1 made, 0 failed, 0 there already",
    "two_avatars.py": "mira: One. Two.",
    "create_avatar.py": "nova can be called",
    "load_test.py": "2 served, 0 refused",
}
LIVE = ("own_llm.py", "two_avatars.py", "load_test.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    samples = decode(spoken_question(), 16_000)
    pcm = (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()
    write_wav(tmp_path / "in/question.wav", pcm, 16_000)
    return tmp_path


async def started(
    name: str, graph: FakeGraph, folder: Path, *more: str
) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *command(name, folder),
        *more,
        env=environment(f"127.0.0.1:{graph.gateway.grpc_port}"),
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
    )


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_each_example_works(name: str, folder: Path) -> None:
    gate = folder / "gate"
    gate.touch()
    # a slot for each avatar, else some come again later
    async with fake_graph(slots=9, avatars=folder / "own", recipes=gated(gate)) as graph:
        process = await started(name, graph, folder)
        shown, errors = (each.decode() for each in await process.communicate())

        assert process.returncode == 0, errors
        assert SHOWN[name] in shown
        assert await graph.leftovers() == {}


@pytest.mark.parametrize("name", LIVE)
async def test_ctrl_c_ends_the_session_on_the_server(name: str, folder: Path) -> None:
    more = {"two_avatars.py": ["--turns", "99"], "load_test.py": ["--texts", "99"]}
    async with fake_graph() as graph:
        process = await started(name, graph, folder, *more.get(name, []))
        await until(lambda: any(s["is_connected"] for s in sessions(graph)))
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()

        assert (process.returncode, errors.decode()) == (130, "")
        assert not is_anybody_left(process.pid)
        assert await graph.leftovers() == {}


async def test_ctrl_c_stops_what_is_made_on_the_server(folder: Path) -> None:
    own = folder / "own"
    async with fake_graph(avatars=own, recipes=gated(folder / "never")) as graph:
        process = await started("create_avatar.py", graph, folder)
        assert process.stdout is not None
        async for line in process.stdout:
            if b"clips drawn: 6 of 12" in line:
                break
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()

        assert (process.returncode, errors.decode()) == (130, "")
        assert [each.state for each in graph.gateway.workshop.all()] == ["cancelled"]
        assert await graph.leftovers() == {}
    assert not (own / "nova").exists()


def gated(gate: Path) -> Recipes:
    """Avatars are drawn and trained in no time, once the gate is there."""
    recipe = GatedRecipe(gate)
    return Recipes(description=recipe, portrait=recipe)


def sessions(graph: FakeGraph) -> list[dict[str, object]]:
    return [dict(call.summary()) for call in graph.gateway.calls.all()]
