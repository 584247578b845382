"""gRPC on the whole graph in one process: live talks, renders, health, reflection, draining."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from numpy.typing import NDArray

from avatar import errors
from avatar.audio.files import decode
from avatar.cast.characters import CAST
from avatar.media import STAGES
from services.gateway.rpc.server import REFLECTION_V1
from talkingmachines_api.v1 import (
    avatar_pb2,
    live_pb2,
    operator_pb2,
    session_pb2,
    talk_pb2,
)
from tests.fakes.graph import FakeGraph, Parts, fake_graph, spoken_question, until, video_of
from tests.fakes.rpc import RpcClient, RpcTalk, bearer, error_in, kind_of
from tests.fakes.speech import GivenChat

pytestmark = pytest.mark.integration

RATE = 24_000
STATUS = health_pb2.HealthCheckResponse


def speech(seconds: float, start: float = 0.0) -> bytes:
    time = start + np.arange(round(seconds * RATE)) / RATE
    return (12_000 * np.sin(2 * np.pi * 220 * time)).astype("<i2").tobytes()


def sound_of(talk: RpcTalk) -> NDArray[np.int16]:
    pieces = [m.sound.content for m in talk.seen if kind_of(m) == "sound"]
    return np.frombuffer(b"".join(pieces), "<i2")


async def test_a_question_in_writing_is_answered_in_sound_pictures_and_words() -> None:
    async with fake_graph() as graph:
        client = RpcClient(graph.channel)
        created = await client.create(avatar_id="otto")
        async with client.talk(created) as talk:
            await talk.next("opened")
            await talk.send(ask=live_pb2.AskText(text="Who are you?"))
            finished = (await talk.next("event.playback_finished")).event.playback_finished
            assert finished.heard.text == "One. Two."
            assert not finished.interrupted
            done = (await talk.next("event.response_done")).event.response_done
            assert done.status == "completed"
            assert "chat: given chat" in list(done.models)
            await talk.hang_up()
            await talk.rest()
        kinds = {kind_of(message) for message in talk.seen}
        assert {"event.response_created", "event.playback_started", "event.sentence"} <= kinds
        assert {"sound", "picture", "event.state"} <= kinds
        assert np.abs(sound_of(talk)).max() > 1000
        request = session_pb2.GetSessionRequest(session_id=created.session.id)
        shown = bearer(created.token)
        session = (await client.sessions.GetSession(request, metadata=shown)).session
        assert session.turns == 1
        async with client.talk(created) as talk:  # it goes on where it was
            items = (await talk.next("opened")).opened.items
            assert [(item.role, item.text) for item in items] == [
                ("user", "Who are you?"),
                ("assistant", "One. Two."),
            ]
        delete = session_pb2.DeleteSessionRequest(session_id=created.session.id)
        await client.sessions.DeleteSession(delete, metadata=shown)
        assert await graph.leftovers() == {}


async def test_the_clients_own_model_answers_a_spoken_question_with_its_own_voice() -> None:
    async with fake_graph() as graph:
        client = RpcClient(graph.channel)
        created = await client.create(answers=session_pb2.ANSWERS_CLIENT)
        assert created.session.answers == session_pb2.ANSWERS_CLIENT
        async with client.talk(created, pictures=live_pb2.PICTURE_FORMAT_NONE) as talk:
            await talk.next("opened")
            speaking = asyncio.create_task(_speak(talk))
            while True:
                said = (await talk.next("event.user_transcript")).event.user_transcript
                if said.is_final:
                    break
            assert said.text == "what is it"
            await speaking
            await _reply(talk, "It is a test of mine.", 1.0)
            finished = (await talk.next("event.playback_finished")).event.playback_finished
            assert finished.heard.text == "It is a test of mine."
            assert finished.heard.position_seconds == pytest.approx(1.0, abs=0.01)
        sentences = [m.event.sentence.text for m in talk.seen if kind_of(m) == "event.sentence"]
        assert sentences == ["It is a test of mine."]


async def _speak(talk: RpcTalk) -> None:
    """Somebody asks, and is silent then, in real time."""
    question = decode(spoken_question(), 16_000)
    silence = np.zeros(2 * 16_000, np.float32)
    sound = (np.concatenate([question, silence]) * 32767).astype("<i2")
    for start in range(0, sound.size, 1600):
        piece = live_pb2.PcmPiece(
            samples=sound[start : start + 1600].tobytes(), sample_rate_hertz=16_000
        )
        await talk.send(microphone=piece)
        await asyncio.sleep(0.1)


async def _reply(talk: RpcTalk, text: str, seconds: float, reply_id: str = "") -> None:
    sentence = live_pb2.ReplySentenceText(text=text)
    await talk.send(reply=live_pb2.ReplyPiece(sentence=sentence, reply_id=reply_id))
    for start in np.arange(0, seconds, 0.1):
        piece = live_pb2.PcmPiece(samples=speech(0.1, start), sample_rate_hertz=RATE)
        await talk.send(reply=live_pb2.ReplyPiece(speech=piece, reply_id=reply_id))
    end = live_pb2.ReplyEnd()
    await talk.send(reply=live_pb2.ReplyPiece(end=end, reply_id=reply_id))


async def test_a_long_reply_is_pushed_no_faster_than_its_credit() -> None:
    async with fake_graph() as graph:
        client = RpcClient(graph.channel)
        async with client.talk(await client.create()) as talk:
            opened = (await talk.next("opened")).opened
            granted = opened.reply_credit.granted_milliseconds
            sent = 0
            while sent < 5000:
                if sent + 500 > granted:
                    more = await talk.next("reply_credit")
                    assert more.reply_credit.granted_milliseconds > granted
                    granted = more.reply_credit.granted_milliseconds
                    continue
                piece = live_pb2.PcmPiece(samples=speech(0.5), sample_rate_hertz=RATE)
                await talk.send(reply=live_pb2.ReplyPiece(speech=piece))
                sent += 500
            await talk.send(reply=live_pb2.ReplyPiece(end=live_pb2.ReplyEnd()))
            finished = (await talk.next("event.playback_finished")).event.playback_finished
            assert finished.heard.position_seconds == pytest.approx(5.0, abs=0.01)


async def test_an_interruption_over_either_way_is_silence_and_says_what_was_heard() -> None:
    sentences = [" ".join(f"word{i}" for i in range(60)) + "."]
    async with fake_graph(parts=Parts(chat=GivenChat(sentences))) as graph:
        client = RpcClient(graph.channel)
        created = await client.create()
        request = session_pb2.InterruptSessionRequest(session_id=created.session.id)
        async with client.talk(created) as talk:
            await talk.next("opened")
            for way in ("talk", "session"):
                await talk.send(ask=live_pb2.AskText(text="Go on."))
                await talk.next("event.playback_started")
                for _ in range(60):  # 1.2 s are heard
                    await talk.next("sound")
                if way == "talk":
                    await talk.send(interrupt=live_pb2.Interrupt(request_id="x"))
                    heard = (await talk.next("interrupted")).interrupted.heard
                else:
                    shown = bearer(created.token)
                    answer = await client.sessions.InterruptSession(request, metadata=shown)
                    heard = answer.heard
                assert heard.text.startswith("word0 word1")
                assert "word40" not in heard.text
                assert heard.position_seconds > 0.9
                assert await _status(talk, heard.response_id) == "cancelled"


async def _status(talk: RpcTalk, response_id: str) -> str:
    """How the answer ended; what is told of it may have come already."""
    while True:
        for message in talk.seen:
            if message.event.response_done.response_id == response_id:
                return message.event.response_done.status
        await talk.next("event.response_done")


async def test_another_avatar_goes_on_with_the_session() -> None:
    async with fake_graph() as graph:
        client = RpcClient(graph.channel)
        created = await client.create(avatar_id="mira")
        swap = session_pb2.SwapAvatarRequest(session_id=created.session.id, avatar_id="otto")
        async with client.talk(created) as talk:
            await talk.next("opened")
            await talk.next("picture")
            await client.sessions.SwapAvatar(swap, metadata=bearer(created.token))
            swapped = (await talk.next("event.swapped")).event.swapped
            assert swapped.avatar_id == "otto"
            nobody = live_pb2.Swap(avatar_id="nobody at all")
            await talk.send(swap=nobody)
            assert (await talk.next("event.refusal")).event.refusal.reason == "NOT_FOUND"


async def test_a_recording_becomes_a_video_of_the_same_length() -> None:
    async with fake_graph() as graph:
        events = await _render(graph, spoken_question())
        video, summary = video_of(events), events[-1].summary
        with av.open(io.BytesIO(video), "r") as file:
            frames = sum(1 for _ in file.decode(video=0))
        spoken_s = decode(spoken_question(), RATE).size / RATE
        assert frames == summary.frame_count
        assert spoken_s <= summary.frame_count / 25 < spoken_s + 0.32 + 0.48
        assert list(summary.models) == []
        assert await graph.leftovers() == {}


async def test_what_is_no_recording_is_refused() -> None:
    async with fake_graph() as graph:
        for content in (b"", b"no sound"):
            with pytest.raises(grpc.RpcError) as caught:
                await _render(graph, content)
            assert isinstance(error_in(caught.value), errors.InvalidInput)
        assert await graph.leftovers() == {}


async def _render(graph: FakeGraph, recording: bytes) -> list[talk_pb2.TalkEvent]:
    def requests() -> Iterator[talk_pb2.RenderRequest]:
        yield talk_pb2.RenderRequest(config=talk_pb2.RenderConfig(avatar_id="mira"))
        for start in range(0, len(recording), 20_000):
            yield talk_pb2.RenderRequest(audio=recording[start : start + 20_000])

    return [step.event async for step in graph.talk.Render(requests())]


async def test_health_follows_the_warm_up_and_a_drain() -> None:
    async with fake_graph(ready=False) as graph:
        client = RpcClient(graph.channel)
        stub = health_pb2_grpc.HealthStub(graph.channel)
        names = ["", *_services(await _listed(graph))]
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in names]
        for watch in watches:
            seen = [(await watch.read()).status]
            while seen[-1] != STATUS.SERVING:
                seen.append((await watch.read()).status)
            assert seen in ([STATUS.NOT_SERVING, STATUS.SERVING], [STATUS.SERVING])
        created = await client.create()
        ask = client.operator.ListWorkers
        workers = (await ask(operator_pb2.ListWorkersRequest())).workers
        assert [each.stage for each in workers] == list(STAGES)
        assert {each.sessions for each in workers} == {1}
        [own] = [each for each in workers if each.stage == "gateway"]
        drain = operator_pb2.DrainWorkerRequest(worker_id=own.id)
        told = (await client.operator.DrainWorker(drain)).worker
        assert (told.draining, told.sessions) == (True, 1)
        for watch in watches:
            assert (await watch.read()).status == STATUS.NOT_SERVING
        await until(lambda: graph.gateway.coordinator.is_draining)
        with pytest.raises(grpc.RpcError) as caught:
            await client.create()
        assert isinstance(error_in(caught.value), errors.Unavailable)
        request = session_pb2.GetSessionRequest(session_id=created.session.id)
        await client.sessions.GetSession(request, metadata=bearer(created.token))  # it goes on
        nobody = operator_pb2.DrainWorkerRequest(worker_id="nobody")
        with pytest.raises(grpc.RpcError) as caught:
            await client.operator.DrainWorker(nobody)
        assert isinstance(error_in(caught.value), errors.NotFound)


async def test_a_stage_that_is_drained_takes_no_new_sessions() -> None:
    async with fake_graph() as graph:
        client = RpcClient(graph.channel)
        workers = (await client.operator.ListWorkers(operator_pb2.ListWorkersRequest())).workers
        [score] = [each for each in workers if each.stage == "score_worker"]
        await client.operator.DrainWorker(operator_pb2.DrainWorkerRequest(worker_id=score.id))
        await until(lambda: "score_worker" in graph.gateway.waiting_for)
        with pytest.raises(grpc.RpcError) as caught:
            await client.create()
        assert isinstance(error_in(caught.value), errors.Unavailable)


def _services(listed: list[str]) -> list[str]:
    return [name for name in listed if name.startswith("talkingmachines_api.")]


async def _listed(graph: FakeGraph) -> list[str]:
    def ask() -> list[str]:
        with grpc.insecure_channel(f"127.0.0.1:{graph.gateway.grpc_port}") as channel:
            return list(ProtoReflectionDescriptorDatabase(channel).get_services())

    return await asyncio.to_thread(ask)


async def test_a_client_that_knows_nothing_lists_and_calls_by_reflection() -> None:
    """What grpcurl does: names, then descriptors, then JSON in and out."""

    def curl(address: str) -> tuple[list[str], dict[str, Any], list[dict[str, Any]]]:
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool, names = DescriptorPool(database), list(database.get_services())

            def invoke(name: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
                service, _, method = name.rpartition("/")
                found = pool.FindServiceByName(service).FindMethodByName(method)
                kinds = found.input_type, found.output_type
                request, response = map(message_factory.GetMessageClass, kinds)
                call: Any = channel.unary_stream if found.server_streaming else channel.unary_unary
                answer = call(f"/{name}", request.SerializeToString, response.FromString)(
                    ParseDict(fields, request())
                )
                return [
                    MessageToDict(each) for each in (answer if found.server_streaming else [answer])
                ]

            package = "talkingmachines_api.v1."
            listed = invoke(f"{package}AvatarService/ListAvatars", {"pageSize": 2})
            said = invoke(f"{package}TalkService/Say", {"text": "Hello."})
            return names, listed[0], said

    async with fake_graph() as graph:
        address = f"127.0.0.1:{graph.gateway.grpc_port}"
        names, listed, said = await asyncio.to_thread(curl, address)
    assert {name.rpartition(".")[2] for name in names} == {
        *("TalkService", "SessionService", "AvatarService", "OperatorService"),
        *("Health", "ServerReflection"),
    }
    assert [each["avatar"]["id"] for each in listed["avatars"]] == [c.id for c in CAST[:2]]
    assert "summary" in said[-1]["event"]


async def test_reflection_answers_by_the_name_that_clients_ask_for_first() -> None:
    async with fake_graph(ready=False) as graph:
        call: Any = graph.channel.stream_stream(
            f"/{REFLECTION_V1}/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        answers = [answer async for answer in call(iter([request]))]
    names = [each.name for each in answers[0].list_services_response.service]
    assert _services(names)


async def test_an_own_avatar_is_told_with_its_portrait(tmp_path: Path) -> None:
    async with fake_graph(avatars=tmp_path) as graph:
        client = RpcClient(graph.channel)
        shown = await client.avatars.GetAvatar(avatar_pb2.GetAvatarRequest(avatar_id="mira"))
        assert shown.avatar.is_shipped
        assert shown.portrait.startswith(b"\x89PNG")
