"""`make run` as people use it: five Ray replicas, small engines in three of them, then Ctrl-C."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import grpc
import psutil  # type: ignore[import-untyped]  # no stubs
import pytest

from avatar.media import STAGES
from talkingmachines_api.v1 import live_pb2, operator_pb2, session_pb2, talk_pb2, talk_pb2_grpc
from tests.fakes.graph import QUESTIONS, pictures_of, until, video_of
from tests.fakes.launcher import STOP_S, Run, launched, status_of
from tests.fakes.rpc import RpcClient, bearer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with launched(tmp_path_factory.mktemp("log")) as run:
        yield run


@pytest.fixture
async def talk(running: Run) -> "AsyncIterator[talk_pb2_grpc.TalkServiceAsyncStub]":
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        yield talk_pb2_grpc.TalkServiceStub(channel)


async def asked(talk: "talk_pb2_grpc.TalkServiceAsyncStub", file: str) -> list[talk_pb2.TalkEvent]:
    async def requests() -> AsyncIterator[talk_pb2.AskRequest]:
        yield talk_pb2.AskRequest(config=talk_pb2.AskConfig(avatar_id="mira"))
        yield talk_pb2.AskRequest(audio=(QUESTIONS / file).read_bytes())

    return [response.event async for response in talk.Ask(requests())]


def test_somebody_answered_from_the_first_line_on_and_ready_stayed_ready(running: Run) -> None:
    running.watch.stopped.set()
    assert set(running.watch.healthz) == {200}
    assert set(running.watch.readyz) <= {503, 200}
    assert running.watch.readyz == sorted(running.watch.readyz, reverse=True)
    assert status_of(running.port, "/readyz") == 200
    assert "talkingmachines say" in running.lines[-1]


def test_every_stage_is_a_process_of_its_own(running: Run) -> None:
    replicas = running.replicas()
    assert set(replicas) == {
        "audio_llm",
        "audio_encoder",
        "score_worker",
        "vae_decoder",
        "gateway",
    }
    assert {replica.nice() for replica in replicas.values()} == {os.nice(0)}


async def test_two_questions_at_once_are_both_answered_right(
    talk: "talk_pb2_grpc.TalkServiceAsyncStub",
) -> None:
    files = ("what_is_your_name.flac", "favourite_season.flac")
    answers = await asyncio.gather(*(asked(talk, file) for file in files))
    heard = [
        event.transcript.text.lower()
        for events in answers
        for event in events
        if event.WhichOneof("event") == "transcript"
    ]
    assert re.search("your name", heard[0])
    assert re.search("season", heard[1])
    for events in answers:
        summary = events[-1].summary
        assert len(pictures_of(video_of(events))) == summary.frame_count
        assert summary.frame_count / 25 == pytest.approx(summary.audio_seconds)


async def test_a_live_talk_over_grpc_is_seen_heard_and_interrupted(running: Run) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        client = RpcClient(channel)
        created = await client.create(avatar_id="otto")
        async with client.talk(created) as talk:
            await talk.next("opened")
            await talk.next("picture")
            await talk.send(say=live_pb2.SayText(text="One, two, three, four, five, six, seven."))
            await talk.next("event.playback_started")
            for _ in range(50):  # a second is heard
                await talk.next("sound")
            await talk.send(interrupt=live_pb2.Interrupt(request_id="x"))
            heard = (await talk.next("interrupted")).interrupted.heard
            assert heard.text.startswith("One")
            assert heard.position_seconds > 0.5
        workers = (await client.operator.ListWorkers(operator_pb2.ListWorkersRequest())).workers
        assert {each.stage: each.sessions for each in workers} == dict.fromkeys(STAGES, 1)
        delete = session_pb2.DeleteSessionRequest(session_id=created.session.id)
        await client.sessions.DeleteSession(delete, metadata=bearer(created.token))


async def test_a_killed_replica_ends_its_session_with_a_status_and_is_replaced(
    running: Run, talk: "talk_pb2_grpc.TalkServiceAsyncStub"
) -> None:
    victim = running.replicas()["score_worker"]

    async def say_and_kill() -> None:
        text = "One, two, three, four, five, six, seven, eight, nine, ten. " * 20
        async for response in talk.Say(talk_pb2.SayRequest(text=text)):
            if response.event.WhichOneof("event") == "chunk_ready":
                with suppress(psutil.NoSuchProcess):  # more chunks were on their way
                    victim.kill()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await say_and_kill()
    assert caught.value.code() in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
    assert "127.0.0.1" not in (caught.value.details() or "")
    await until(lambda: running.replicas().get("score_worker") not in {None, victim}, limit_s=60)
    async with asyncio.timeout(60):
        while not await is_said(talk, "Hello."):
            pass


async def is_said(talk: "talk_pb2_grpc.TalkServiceAsyncStub", text: str) -> bool:
    try:
        events = [response.event async for response in talk.Say(talk_pb2.SayRequest(text=text))]
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:  # the dead one is still listed
            raise
        return False
    return events[-1].summary.frame_count > 0


def test_ctrl_c_leaves_no_process_no_port_and_no_file(running: Run) -> None:
    family = psutil.Process(running.process.pid).children(recursive=True)
    running.process.send_signal(signal.SIGINT)
    output, _ = running.process.communicate(timeout=STOP_S)
    assert running.process.returncode == 0, output
    assert output.splitlines()[-1].endswith("stopped")
    _, alive = psutil.wait_procs(family, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    for port in (running.port, running.grpc_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    # nothing but what this test put there, and the cache of a library
    assert {path.name for path in running.folder.iterdir()} <= {"ray_config.yaml", ".cache"}
