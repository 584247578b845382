"""What the front doors say to bad input: a status, a reason, a sentence; nothing stays behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no stubs
from grpc_status import rpc_status

from avatar.errors import CorruptFile
from services.inproc import inproc_graph
from services.ports import free_port
from services.settings import AppConfig, Environment
from talkingmachines_api.v1 import talk_pb2
from tests.fakes.engines import FailingPainter, GatedPainter
from tests.fakes.graph import Parts, fake_graph, silent_wav, spoken_question, until

pytestmark = pytest.mark.integration


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # stubs know the sync API only
    assert isinstance(status, status_pb2.Status)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "talkingmachines"
    return info.reason


def retry_delay_s_of(error: grpc.aio.AioRpcError) -> float:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # as above
    retry = error_details_pb2.RetryInfo()
    assert status is not None
    assert any(detail.Unpack(retry) for detail in status.details)
    return retry.retry_delay.ToTimedelta().total_seconds()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "INVALID_INPUT"),
        ("  \n ", "INVALID_INPUT"),
        ("?!...", "INVALID_INPUT"),
        ("word " * 100_000, "TOO_LARGE"),
        ("x" * 2001, "TOO_LARGE"),
    ],
    ids=["empty", "blank", "nothing to speak", "huge", "a little too long"],
)
async def test_a_text_that_cannot_be_said_is_refused(text: str, reason: str) -> None:
    async with fake_graph() as graph:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await graph.say(text)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(caught.value) == reason
        assert caught.value.details()
        assert await graph.leftovers() == {}


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (b"", "INVALID_INPUT"),
        (b"<html>this is no sound</html>", "INVALID_INPUT"),
        (spoken_question()[:60], "INVALID_INPUT"),
        (silent_wav(3.0), "NO_SPEECH"),
        (silent_wav(3600.0), "TOO_LARGE"),
        (bytes(17 << 20), "TOO_LARGE"),
    ],
    ids=["empty", "a web page", "a header alone", "silence", "an hour", "17 MiB"],
)
async def test_a_question_that_cannot_be_heard_is_refused(question: bytes, reason: str) -> None:
    async with fake_graph() as graph:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await graph.ask(question, piece=1 << 20)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(caught.value) == reason
        assert await graph.leftovers() == {}


async def test_an_unknown_avatar_is_not_found_and_the_known_ones_are_named() -> None:
    async with fake_graph() as graph:
        for call in (graph.say("Hello.", avatar="nobody"), graph.ask(spoken_question(), "nobody")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert "mira" in (caught.value.details() or "")
        assert await graph.leftovers() == {}


@pytest.mark.parametrize("method", ["Say", "Ask", "ListAvatars"])
async def test_bytes_that_are_no_protobuf_are_an_invalid_argument(method: str) -> None:
    async with fake_graph() as graph:
        path = f"/talkingmachines_api.v1.TalkService/{method}"
        garbage = b"\xff\xff\xff\xff"
        channel: Any = graph.channel  # the stubs want serializers, and there are none here
        call = {
            "Say": lambda: channel.unary_stream(path)(garbage).read(),
            "Ask": lambda: channel.stream_stream(path)(iter([garbage])).read(),
            "ListAvatars": lambda: channel.unary_unary(path)(garbage),
        }[method]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call()  # type: ignore[no-untyped-call]  # as above
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason_of(caught.value) == "INVALID_INPUT"
        assert await graph.leftovers() == {}


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [talk_pb2.AskRequest(audio=b"RIFF")],
        [talk_pb2.AskRequest(config=talk_pb2.AskConfig())] * 2,
        [talk_pb2.AskRequest()],
    ],
    ids=["nothing", "sound first", "settings twice", "an empty message"],
)
async def test_a_question_out_of_order_is_refused(pieces: list[talk_pb2.AskRequest]) -> None:
    async with fake_graph() as graph:

        async def requests() -> AsyncIterator[talk_pb2.AskRequest]:
            for piece in pieces:
                yield piece

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in graph.talk.Ask(requests()):
                pass
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await graph.leftovers() == {}


async def test_beyond_the_slots_a_caller_is_told_when_to_come_back() -> None:
    painter = GatedPainter()
    painter.gate.set()
    async with fake_graph(slots=2, parts=Parts(painter=lambda: painter)) as graph:
        painter.gate.clear()
        first = [asyncio.create_task(graph.say("One two three four.")) for _ in range(2)]
        await until(lambda: len(graph.gateway.coordinator.sessions) == 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await graph.say("Hello.")
        over_http = await graph.http.post("/v1/say", json={"text": "Hello."})
        painter.gate.set()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(caught.value) == "NO_FREE_SLOT"
        assert retry_delay_s_of(caught.value) > 0
        assert over_http.status_code == 503
        assert int(over_http.headers["retry-after"]) > 0
        for events in await asyncio.gather(*first):
            assert events[-1].summary.frame_count > 0
        assert await graph.leftovers() == {}


async def test_an_engine_that_fails_ends_its_session_and_no_other() -> None:
    async with fake_graph(parts=Parts(painter=FailingPainter)) as graph:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await graph.say("One two three four five six seven eight nine ten. And more and more.")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "not a number" not in (caught.value.details() or "")
        assert await graph.leftovers() == {}
        assert (await graph.say("Hello."))[-1].summary.frame_count > 0


async def test_a_corrupt_weight_file_stops_the_start_with_its_name() -> None:
    def load() -> FailingPainter:
        raise CorruptFile("dit.safetensors: sha256 differs")

    config = AppConfig(port=free_port(), grpc_port=0)
    with pytest.raises(CorruptFile, match=r"dit\.safetensors"):
        async with inproc_graph(config, Environment(), Parts(painter=load).makers()):
            pass


@pytest.mark.parametrize(
    ("path", "body", "media_type", "status", "reason"),
    [
        ("/v1/say", b'{"text": ""}', "application/json", 400, "INVALID_INPUT"),
        ("/v1/say", b"{not json", "application/json", 400, "INVALID_INPUT"),
        ("/v1/say", b'{"text": "Hello.", "voice": 1}', "application/json", 400, "INVALID_INPUT"),
        ("/v1/say", b'{"text": "Hello."}', "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("/v1/say", b"x" * 100_000, "application/json", 413, "TOO_LARGE"),
        ("/v1/say", b'{"text": "Hi.", "avatar": "no"}', "application/json", 404, "NOT_FOUND"),
        ("/v1/ask", b"nothing to hear", "audio/wav", 400, "INVALID_INPUT"),
        ("/v1/ask", silent_wav(2.0), "audio/wav", 422, "NO_SPEECH"),
        ("/v1/ask?avatar=no", spoken_question(), "audio/wav", 404, "NOT_FOUND"),
        ("/nowhere", b"", "text/plain", 404, "NOT_FOUND"),
    ],
)
async def test_http_errors_are_problem_documents(
    path: str, body: bytes, media_type: str, status: int, reason: str
) -> None:
    async with fake_graph() as graph:
        response = await graph.http.post(path, content=body, headers={"content-type": media_type})
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert (problem["status"], problem["reason"]) == (status, reason)
        assert problem["detail"]
        assert await graph.leftovers() == {}
