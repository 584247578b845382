"""Live sessions of the SDK against the real services and stages, with small engines."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import pytest

import talkingmachines as tm
from avatar.media import AudioEmbedding, LatentChunk
from tests.fakes.engines import CountedPainter, Loudness, LoudnessPainter
from tests.fakes.graph import FakeGraph, Parts, fake_graph
from tests.fakes.relay import Relay
from tests.fakes.speech import GivenChat

pytestmark = pytest.mark.integration

LONG = [f"Sentence number {n} goes on and on and on and on." for n in range(12)]
SECOND = b"\x00\x10" * 24_000


def client_of(graph: FakeGraph) -> tm.AsyncClient:
    return tm.AsyncClient(f"127.0.0.1:{graph.gateway.grpc_port}")


async def until(steps: AsyncIterator[Any], kind: type) -> list[Any]:
    seen: list[Any] = []
    async for step in steps:
        seen.append(step)
        if isinstance(step, kind):
            return seen
    raise AssertionError(f"no {kind.__name__} among {seen}")


async def test_a_text_is_said_with_pictures_and_sound_of_one_clock() -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        async with client.session("mira") as session:
            about = await session.describe()
            await session.say("One two three.")
            steps = await until(session, tm.ResponseDone)
            sound = [step for step in steps if isinstance(step, tm.Sound)]

        assert (about.avatar, about.frame_rate, about.grace_s) == ("mira", 25.0, 30.0)
        assert isinstance(steps[-1], tm.ResponseDone)
        assert steps[-1].status == "completed"
        spoken = [step.text for step in steps if isinstance(step, tm.Sentence)]
        assert spoken == ["One two three."]
        assert {b.pts - a.pts for a, b in zip(sound, sound[1:], strict=False)} == {960}
        assert any(set(piece.content) != {0} for piece in sound)
        assert all(len(piece.content) == 1920 for piece in sound)
        assert await graph.leftovers() == {}


async def test_a_question_is_answered_and_the_answer_interrupted() -> None:
    parts = Parts(chat=GivenChat(sentences=LONG))
    async with fake_graph(parts=parts) as graph, client_of(graph) as client:
        async with client.session(pictures="none") as session:
            await session.ask("What is it?")
            events = session.events()
            await until(events, tm.Sentence)
            await until(events, tm.Sentence)  # the second begins: the first was heard
            heard = await session.interrupt()
            finished = (await until(events, tm.PlaybackFinished))[-1]

        assert heard is not None
        assert heard.text.startswith(LONG[0])
        assert heard.position_s > 0.5
        assert finished == tm.PlaybackFinished(heard, True, at_s=finished.at_s)
        assert await graph.leftovers() == {}


async def test_a_reply_of_ones_own_waits_for_room_and_is_heard() -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        async with client.session(answers="client", pictures="none") as session:
            pushing = asyncio.ensure_future(session.push_reply(4 * SECOND, 24_000, "My own words."))
            events = session.events()
            await until(events, tm.PlaybackStarted)
            assert not pushing.done()
            await pushing
            await session.end_reply()
            finished = (await until(events, tm.PlaybackFinished))[-1]

        assert isinstance(finished, tm.PlaybackFinished)
        assert (finished.heard.text, finished.interrupted) == ("My own words.", False)
        assert finished.heard.position_s == pytest.approx(4.0, abs=0.02)


async def test_a_session_goes_on_over_a_lost_connection() -> None:
    async with fake_graph() as graph:
        with Relay(f"127.0.0.1:{graph.gateway.grpc_port}") as relay:
            async with tm.AsyncClient(relay.address) as client:
                async with client.session(answers="client", pictures="none") as session:
                    pushing = asyncio.ensure_future(
                        session.push_reply(4 * SECOND, 24_000, "My own words.")
                    )
                    events = session.events()
                    await until(events, tm.PlaybackStarted)
                    relay.drop()
                    await until(events, tm.Resumed)
                    await pushing
                    await session.end_reply()
                    finished = (await until(events, tm.PlaybackFinished))[-1]
                    listed = await client.sessions()
                    assert [each.id for each in listed.sessions] == [session.id]

        assert isinstance(finished, tm.PlaybackFinished)
        # the same reply: what was on the wire when it broke is all that may be missing
        assert not finished.interrupted
        assert 2.5 < finished.heard.position_s <= 4.02
        assert await graph.leftovers() == {}


async def test_the_sync_twin_does_it_too(tmp_path: Path) -> None:
    async with fake_graph() as graph:

        def talk() -> tuple[str, Path]:
            with (
                tm.Client(f"127.0.0.1:{graph.gateway.grpc_port}") as client,
                client.session(pictures="h264") as session,
                tm.Recorder(tmp_path / "call.mp4") as recorder,
            ):
                session.say("One two three four five six seven eight nine ten.")
                for step in session:
                    recorder.add(step)
                    if isinstance(step, tm.PlaybackFinished):
                        return step.heard.text, recorder.commit()
            raise AssertionError("the session ended")

        heard, path = await asyncio.to_thread(talk)
        assert heard == "One two three four five six seven eight nine ten."
        assert await graph.leftovers() == {}
    with av.open(path, "r") as file:
        times = [float(frame.time or 0) for frame in file.decode(video=0)]
    assert len(times) > 10
    assert times == sorted(times)
    assert threading.active_count() < 50


async def test_a_full_server_tells_the_place_and_who_waits_gets_the_next_one() -> None:
    async with fake_graph(slots=1) as graph, client_of(graph) as client:
        places: list[tm.Place] = []
        told = asyncio.Event()

        def note(place: tm.Place) -> None:
            places.append(place)
            told.set()

        async with client.session(pictures="none"):
            with pytest.raises(tm.Busy) as raised:
                await client.session(pictures="none").open()
            waiting = client.session(pictures="none", wait_in_line=True, on_place=note)
            opening = asyncio.ensure_future(waiting.open())
            await told.wait()
        await opening
        await waiting.close()

        assert raised.value.position == 1
        assert (places[0].position, places[0].waiting) == (1, 1)
        assert await graph.leftovers() == {}


async def test_a_worker_is_drained() -> None:
    async with fake_graph(slots=1) as graph, client_of(graph) as client:

        async def willing() -> list[tm.Worker]:
            painters = [each for each in await client.workers() if each.stage == "score_worker"]
            return [each for each in painters if not each.draining]

        (before,) = await willing()
        assert (before.slots, before.sessions) == (1, 0)
        assert (await client.drain(before.id)).draining
        async with asyncio.timeout(30):
            while await willing():  # noqa: ASYNC110  it hears of it by and by
                await asyncio.sleep(0.02)

        async def open_again_and_again() -> None:
            while True:  # a gateway looks once a second who is there
                async with client.session(pictures="none"):
                    pass

        with pytest.raises(tm.Unavailable):
            await asyncio.wait_for(open_again_and_again(), 30)
        with pytest.raises(tm.NotFound):
            await client.drain("nobody")


async def test_operators_see_what_a_worker_measured_and_whom_it_knows() -> None:
    painter = CountedPainter(0.15)
    parts = Parts(painter=lambda: painter, clocks=[painter.clock])
    async with fake_graph(slots=3, parts=parts) as graph, client_of(graph) as client:
        workers = {each.stage: each for each in await client.workers()}
        score, decoder = workers["score_worker"], workers["vae_decoder"]
        assert (score.slots, decoder.slots) == (2, 3)
        assert score.measured is not None
        assert (score.measured.together, score.measured.sessions) == (1, 2)
        assert score.measured.chunk_s == pytest.approx(0.48)
        assert score.measured.cost_s == pytest.approx(0.15)
        assert "mira" in score.avatars
        assert decoder.measured is None


class SlowPainter(LoudnessPainter):
    """Takes a part of a chunk's time for each: one is nearly always on its way."""

    def step(self, chunk: AudioEmbedding, state: Loudness, /) -> tuple[LatentChunk, Loudness]:
        time.sleep(0.2)
        return super().step(chunk, state)


@pytest.mark.parametrize("painter", [LoudnessPainter, SlowPainter])
async def test_an_avatar_is_swapped_at_once_and_while_chunks_are_on_their_way(
    painter: type[LoudnessPainter],
) -> None:
    async with fake_graph(parts=Parts(painter=painter)) as graph, client_of(graph) as client:
        async with client.session("mira", pictures="none") as session:
            for name in ("otto", "mira", "otto"):
                await session.swap(name)
                swapped = (await until(session.events(), tm.Swapped))[-1]
                assert swapped == tm.Swapped(name, at_s=swapped.at_s)
                await session.say("One.")
                await until(session.events(), tm.PlaybackFinished)

        assert await graph.leftovers() == {}


async def test_errors_come_by_name() -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        with pytest.raises(tm.NotFound):
            await client.session("nobody").open()
        async with client.session("mira", pictures="none") as session:
            await session.swap("nobody")
            refused = (await until(session.events(), tm.Refused))[-1]
            with pytest.raises(tm.Unauthenticated):
                await client.resume(session.id, "another").open()

        assert isinstance(refused, tm.Refused)
        assert await graph.leftovers() == {}


async def test_a_viewer_token_lets_others_watch_until_it_is_taken_back() -> None:
    async with fake_graph() as graph, client_of(graph) as client:
        async with client.session("mira", pictures="none") as session:
            made = await session.create_viewer_token()
            shown = {"authorization": f"Bearer {made.token}"}
            assert (await graph.http.get(made.whep_path)).status_code == 401
            told = (await graph.http.get(made.whep_path, headers=shown)).json()
            assert (told["avatar"], told["caller_is_connected"]) == ("mira", True)
            assert (await graph.http.get(made.watch_path)).status_code == 200
            await session.delete_viewer_tokens()
            assert (await graph.http.get(made.whep_path, headers=shown)).status_code == 401
        assert await graph.leftovers() == {}
