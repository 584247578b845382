"""Both clients against a server over real gRPC on loopback: each test runs on either of them."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import talkingmachines as tm
from talkingmachines_api.v1 import talk_pb2
from tests.fakes.relay import Relay
from tests.fakes.talk_server import (
    Fail,
    FakeTalkServer,
    Hold,
    NotReady,
    Step,
    chunk_ready,
    reply,
    summary,
    transcript,
    video,
    whole_answer,
)
from tests.fakes.video import mp4_bytes

pytestmark = pytest.mark.integration


class SyncAnswerView:
    """An Answer with the awaitable methods of an AsyncAnswer."""

    def __init__(self, answer: tm.Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> "SyncAnswerView":
        return self

    async def __anext__(self) -> tm.Event:
        event = await asyncio.to_thread(next, self._answer, None)
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> "SyncAnswerView":
        self._answer.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._answer.__exit__(*error)

    async def close(self) -> None:
        self._answer.close()

    async def save(
        self, path: Path | str, on_event: Callable[[tm.Event], None] | None = None
    ) -> tm.SavedAnswer:
        return await asyncio.to_thread(self._answer.save, path, on_event)


class SyncClientView:
    """A Client with the awaitable methods of an AsyncClient."""

    def __init__(self, server: str = "", **options: Any) -> None:
        self._client = tm.Client(server, **options)

    async def __aenter__(self) -> "SyncClientView":
        self._client.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._client.__exit__(*error)

    async def close(self) -> None:
        self._client.close()

    def say(self, text: str, avatar: str = "") -> SyncAnswerView:
        return SyncAnswerView(self._client.say(text, avatar))

    def ask(self, audio: bytes | str | Path, avatar: str = "") -> SyncAnswerView:
        return SyncAnswerView(self._client.ask(audio, avatar))

    async def avatars(self) -> list[tm.Avatar]:
        return await asyncio.to_thread(self._client.avatars)

    async def wait_ready(self, timeout_s: float = 60.0) -> None:
        await asyncio.to_thread(self._client.wait_ready, timeout_s)


Opened = SyncClientView | tm.AsyncClient
Open = type[SyncClientView] | type[tm.AsyncClient]


@pytest.fixture(params=[SyncClientView, tm.AsyncClient], ids=["sync", "async"])
def open_client(request: pytest.FixtureRequest) -> Open:
    return request.param


@pytest.fixture
def server() -> Iterator[FakeTalkServer]:
    with FakeTalkServer() as server:
        yield server


@pytest.fixture
async def client(open_client: Open, server: FakeTalkServer) -> AsyncIterator[Opened]:
    async with open_client(server.address) as client:
        yield client


async def test_say_gives_every_step_in_order_as_plain_values(client: Opened) -> None:
    events = [event async for event in client.say("Hello there.")]

    pieces = [event for event in events if isinstance(event, tm.VideoPiece)]
    assert events == [
        tm.ReplySentence("Hello there."),
        tm.ChunkReady(1, 3, 0.48, 0.25),
        tm.ChunkReady(2, 3, 0.96, 0.5),
        tm.ChunkReady(3, 3, 1.44, 0.75),
        *pieces,
        tm.Summary(25, 25.0, 1.0, 0.25, 0.75, ("chat: scripted", "speech: a tone")),
    ]
    assert len(pieces) > 1
    assert b"".join(piece.content for piece in pieces) == mp4_bytes()


async def test_say_sends_the_text_and_the_avatar(client: Opened, server: FakeTalkServer) -> None:
    async for _ in client.say("Grüße, 世界.", avatar="otto"):
        pass

    assert [(h.rpc, h.text, h.avatar_id) for h in server.heard] == [("Say", "Grüße, 世界.", "otto")]


@pytest.mark.parametrize("as_path", [False, True], ids=["bytes", "path"])
async def test_ask_sends_the_whole_file_in_pieces_after_its_config(
    client: Opened, server: FakeTalkServer, tmp_path: Path, as_path: bool
) -> None:
    audio = os.urandom(200_000)
    (tmp_path / "question.wav").write_bytes(audio)

    events = [e async for e in client.ask(tmp_path / "question.wav" if as_path else audio, "otto")]

    assert events[0] == tm.Transcript("What is your name?")
    assert isinstance(events[-1], tm.Summary)
    assert server.heard[0].audio == audio
    assert server.heard[0].avatar_id == "otto"
    assert server.heard[0].num_pieces > 1


async def test_nothing_is_sent_before_the_first_step_is_asked_for(
    client: Opened, server: FakeTalkServer
) -> None:
    answer = client.say("Hello.")
    await answer.close()

    assert [event async for event in answer] == []
    assert server.heard == []


async def test_a_step_that_only_a_newer_server_knows_is_passed_over(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(reply("One."), talk_pb2.TalkEvent(), summary())

    kinds = [type(event) async for event in client.say("Hello.")]

    assert kinds == [tm.ReplySentence, tm.Summary]


CATALOGUE = [
    (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", tm.InvalidInput),
    (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE", tm.TooLarge),
    (grpc.StatusCode.INVALID_ARGUMENT, "NO_SPEECH", tm.NoSpeech),
    (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", tm.NotFound),
    (grpc.StatusCode.DATA_LOSS, "CORRUPT_FILE", tm.ServerError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", tm.Busy),
    (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", tm.Unavailable),
    (grpc.StatusCode.UNAVAILABLE, "MODEL_SERVER_UNREACHABLE", tm.ModelServerUnreachable),
    (grpc.StatusCode.UNAVAILABLE, "CHANNEL_CLOSED", tm.Unavailable),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", tm.DeadlineExceeded),
    (grpc.StatusCode.ABORTED, "FENCED", tm.SessionLost),
    (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_LOST", tm.SessionLost),
    (grpc.StatusCode.INTERNAL, "INTERNAL", tm.ServerError),
    (grpc.StatusCode.NOT_FOUND, "A_REASON_OF_TOMORROW", tm.NotFound),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", tm.QuotaExceeded),
    (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", tm.Unauthenticated),
    (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", tm.PermissionDenied),
    (grpc.StatusCode.UNAUTHENTICATED, "A_REASON_OF_TOMORROW", tm.Unauthenticated),
    (grpc.StatusCode.OUT_OF_RANGE, "A_REASON_OF_TOMORROW", tm.ServerError),
]


@pytest.mark.parametrize(("status", "reason", "error"), CATALOGUE)
async def test_each_error_of_the_server_has_its_class_and_keeps_its_words(
    client: Opened,
    server: FakeTalkServer,
    status: grpc.StatusCode,
    reason: str,
    error: type[tm.TalkError],
) -> None:
    server.script(Fail(status, reason, "Too much noise: go somewhere quiet."))

    with pytest.raises(tm.TalkError) as raised:
        _ = [event async for event in client.ask(b"RIFF")]

    assert type(raised.value) is error
    assert str(raised.value) == "Too much noise: go somewhere quiet."
    assert raised.value.reason == reason


async def test_a_reason_without_a_message_is_still_named(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(Fail(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ""))

    with pytest.raises(tm.NotFound, match="NOT_FOUND"):
        _ = [event async for event in client.say("Hello.")]


WITHOUT_DETAILS = [
    (grpc.StatusCode.INVALID_ARGUMENT, tm.InvalidInput, "INVALID_ARGUMENT: It went wrong."),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, tm.Busy, "RESOURCE_EXHAUSTED: It went wrong."),
    (grpc.StatusCode.UNAVAILABLE, tm.Unavailable, "make run"),
    (grpc.StatusCode.UNIMPLEMENTED, tm.ServerError, "TalkingMachines server of this version"),
    (grpc.StatusCode.CANCELLED, tm.ConnectionLost, "ended by the server"),
    (grpc.StatusCode.UNKNOWN, tm.ServerError, "UNKNOWN: It went wrong."),
]


@pytest.mark.parametrize(("status", "error", "words"), WITHOUT_DETAILS)
@pytest.mark.parametrize("raw_details", [None, b"\xff\xff no protobuf"], ids=["none", "garbage"])
async def test_an_error_without_readable_details_goes_by_its_status(
    client: Opened,
    server: FakeTalkServer,
    status: grpc.StatusCode,
    error: type[tm.TalkError],
    words: str,
    raw_details: bytes | None,
) -> None:
    server.script(Fail(status, raw_details=raw_details))

    with pytest.raises(tm.TalkError) as raised:
        _ = [event async for event in client.say("Hello.")]

    assert type(raised.value) is error
    assert words in str(raised.value)


async def test_an_unknown_avatar_is_not_found_and_the_known_ones_are_named(client: Opened) -> None:
    with pytest.raises(tm.NotFound, match="mira, otto"):
        _ = [event async for event in client.say("Hello.", avatar="nobody")]


async def test_a_full_server_says_when_to_come_back(client: Opened, server: FakeTalkServer) -> None:
    server.script(full(12.5))

    with pytest.raises(tm.Busy) as raised:
        _ = [event async for event in client.say("Hello.")]

    assert raised.value.retry_after_s == 12.5
    assert len(server.heard) == 1


async def test_a_full_server_is_tried_again_after_the_time_it_asked_for(
    open_client: Open, server: FakeTalkServer
) -> None:
    server.script(full(0.1))
    server.script(full(0.2))
    async with open_client(server.address, retry_busy_s=30.0) as client:
        events = [event async for event in client.ask(b"RIFF" * 100)]

    assert isinstance(events[-1], tm.Summary)
    first, second, third = (heard.arrived_at for heard in server.heard)
    assert second - first >= 0.1
    assert third - second >= 0.2
    assert server.heard[2].audio == b"RIFF" * 100


async def test_a_full_server_is_not_waited_for_longer_than_allowed(
    open_client: Open, server: FakeTalkServer
) -> None:
    server.script(full(3600.0))
    async with open_client(server.address, retry_busy_s=30.0) as client:
        with pytest.raises(tm.Busy):
            _ = [event async for event in client.say("Hello.")]

    assert len(server.heard) == 1


async def test_closing_an_answer_ends_its_wait_for_a_full_server(
    open_client: Open, server: FakeTalkServer
) -> None:
    server.script(full(50.0))
    async with open_client(server.address, retry_busy_s=60.0) as client:
        answer = client.say("Hello.")
        reading = asyncio.ensure_future(anext(answer, None))
        await asyncio.to_thread(server.wait_called)
        await answer.close()

        assert await reading is None


async def test_only_a_full_server_is_tried_again(open_client: Open, server: FakeTalkServer) -> None:
    server.script(Fail(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", retry_after_s=0.0))
    async with open_client(server.address, retry_busy_s=60.0) as client:
        with pytest.raises(tm.Unavailable):
            _ = [event async for event in client.say("Hello.")]

    assert len(server.heard) == 1


async def test_without_a_server_the_message_says_how_to_start_one(open_client: Open) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with open_client(address) as client:
        with pytest.raises(tm.Unavailable, match=f"{address}: start it with `make run`"):
            _ = [event async for event in client.say("Hello.")]


async def test_a_connection_cut_midway_is_reported_as_lost(
    open_client: Open, server: FakeTalkServer, tmp_path: Path
) -> None:
    server.script(reply("One."), *video(b"x" * 5000)[:2], Hold())
    with Relay(server.address) as relay:
        async with open_client(relay.address) as client:
            answer = client.say("Hello.")

            def cut_at_video(event: tm.Event) -> None:
                if isinstance(event, tm.VideoPiece):
                    relay.cut()

            with pytest.raises(tm.ConnectionLost, match=r"after [23] steps"):
                await answer.save(tmp_path / "a.mp4", on_event=cut_at_video)

    assert files_in(tmp_path) == {}


async def test_an_answer_that_ends_without_its_summary_is_an_error(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(reply("One."), chunk_ready(1, 3))

    with pytest.raises(tm.ServerError, match="after 2 steps without its summary"):
        _ = [event async for event in client.say("Hello.")]


async def test_a_server_that_falls_silent_runs_into_the_deadline(
    open_client: Open, server: FakeTalkServer
) -> None:
    server.script(reply("One."), Hold())
    async with open_client(server.address, deadline_s=0.3) as client:
        with pytest.raises(tm.DeadlineExceeded, match=r"within 0\.3 s"):
            _ = [event async for event in client.say("Hello.")]

    assert await asyncio.to_thread(server.wait_abandoned)


async def test_closing_an_answer_cancels_it_on_the_server(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(reply("One."), Hold())
    answer = client.say("Hello.")
    first = await anext(answer)
    await answer.close()
    await answer.close()

    assert first == tm.ReplySentence("One.")
    assert await asyncio.to_thread(server.wait_abandoned)
    assert [event async for event in answer] == []


async def test_closing_an_answer_ends_a_read_under_way(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(reply("One."), Hold())
    answer = client.say("Hello.")
    await anext(answer)
    reading = asyncio.ensure_future(anext(answer, None))
    await asyncio.sleep(0)
    await answer.close()

    assert await reading is None
    assert await asyncio.to_thread(server.wait_abandoned)


async def test_leaving_the_block_of_an_answer_cancels_it_on_the_server(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(reply("One."), Hold())
    async with client.say("Hello.") as answer:
        await anext(answer)

    assert await asyncio.to_thread(server.wait_abandoned)


async def test_dropping_an_answer_cancels_it_on_the_server(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(reply("One."), Hold())
    async for _ in client.say("Hello."):
        break

    assert await asyncio.to_thread(server.wait_abandoned)


async def test_closing_the_client_cancels_what_is_under_way(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(reply("One."), Hold())
    answer = client.say("Hello.")
    await anext(answer)
    await client.close()

    with pytest.raises(tm.ConnectionLost):
        await anext(answer)
    assert await asyncio.to_thread(server.wait_abandoned)


async def test_a_closed_client_says_that_it_is_closed(client: Opened) -> None:
    await client.close()
    await client.close()

    for call in (anext(client.say("Hello.")), anext(client.ask(b"RIFF")), client.avatars()):
        with pytest.raises(ValueError, match="client is closed"):
            await call


async def test_save_writes_the_video_and_returns_the_words(client: Opened, tmp_path: Path) -> None:
    seen: list[tm.Event] = []
    (tmp_path / "a.mp4").write_bytes(b"an older file")
    saved = await client.ask(b"RIFF").save(tmp_path / "a.mp4", on_event=seen.append)

    assert files_in(tmp_path) == {"a.mp4": mp4_bytes()}
    assert saved.path == tmp_path / "a.mp4"
    assert (saved.transcript, saved.reply) == ("What is your name?", "I am Mira.")
    assert saved.summary.models == ("chat: scripted", "speech: a tone")
    assert seen[0] == tm.Transcript("What is your name?")
    assert seen[-1] == saved.summary


async def test_a_reply_of_several_sentences_is_saved_as_one_text(
    client: Opened, server: FakeTalkServer, tmp_path: Path
) -> None:
    server.script(transcript("Well?"), reply("One."), reply("Two."), *video(b"mp4"), summary())

    saved = await client.ask(b"RIFF").save(tmp_path / "a.mp4")

    assert saved.reply == "One. Two."


FAILING: list[tuple[list[Step], type[tm.TalkError]]] = [
    ([*whole_answer("Hi.")[:-2], Fail(grpc.StatusCode.INTERNAL, "INTERNAL")], tm.ServerError),
    ([*whole_answer("Hi.")[:-1]], tm.ServerError),
    ([reply("Hi."), summary()], tm.ServerError),
]


@pytest.mark.parametrize(("steps", "error"), FAILING, ids=["failed", "cut short", "no video"])
async def test_a_failed_answer_leaves_the_older_file_and_nothing_else(
    client: Opened,
    server: FakeTalkServer,
    tmp_path: Path,
    steps: list[Step],
    error: type[tm.TalkError],
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"an older file")
    server.script(*steps)

    with pytest.raises(error):
        await client.say("Hello.").save(tmp_path / "a.mp4")

    assert files_in(tmp_path) == {"a.mp4": b"an older file"}


async def test_a_folder_that_is_missing_is_noticed_before_the_server_works(
    client: Opened, server: FakeTalkServer, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        await client.say("Hello.").save(tmp_path / "missing" / "a.mp4")

    assert server.heard == []


async def test_a_question_that_is_no_file_is_not_sent(
    client: Opened, server: FakeTalkServer, tmp_path: Path
) -> None:
    (tmp_path / "empty.wav").touch()

    with pytest.raises(FileNotFoundError):
        await anext(client.ask(tmp_path / "missing.wav"))
    with pytest.raises(tm.InvalidInput, match=r"empty\.wav is empty"):
        await anext(client.ask(str(tmp_path / "empty.wav")))
    with pytest.raises(tm.TooLarge, match="over 16 MiB"):
        await anext(client.ask(bytes(16 * 2**20 + 1)))
    assert server.heard == []


async def test_the_largest_question_allowed_arrives(client: Opened, server: FakeTalkServer) -> None:
    async for _ in client.ask(bytes(16 * 2**20)):
        pass

    assert len(server.heard[0].audio) == 16 * 2**20


async def test_avatars_come_in_the_order_of_the_server(client: Opened) -> None:
    assert await client.avatars() == [
        tm.Avatar("mira", "Mira", "A museum guide."),
        tm.Avatar("otto", "Otto", "A retired clockmaker."),
    ]


async def test_avatars_of_a_failing_server_are_an_error(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(Fail(grpc.StatusCode.INTERNAL, "INTERNAL", "No weights."))

    with pytest.raises(tm.ServerError, match=r"No weights\."):
        await client.avatars()


async def test_a_ready_server_is_not_waited_for(client: Opened) -> None:
    await client.wait_ready(timeout_s=30.0)


async def test_a_server_is_waited_for_from_before_it_listens(open_client: Open) -> None:
    port = free_port()
    async with open_client(f"127.0.0.1:{port}") as client:
        with pytest.raises(tm.Unavailable):
            await client.avatars()
        waiting = asyncio.ensure_future(client.wait_ready(timeout_s=60.0))
        await asyncio.sleep(0)
        with FakeTalkServer(port):
            await waiting


async def test_a_server_that_loads_its_models_tells_when_it_is_ready(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(NotReady())

    await client.wait_ready(timeout_s=30.0)

    assert [heard.text for heard in server.heard] == ["talkingmachines_api.v1.TalkService"]


async def test_a_server_that_breaks_off_while_it_loads_is_asked_again(
    client: Opened, server: FakeTalkServer
) -> None:
    broken = Fail(grpc.StatusCode.UNAVAILABLE, message="The connection was reset.")
    server.script(NotReady(), broken)
    server.script(broken)

    await client.wait_ready(timeout_s=30.0)

    assert [heard.rpc for heard in server.heard] == ["Watch"] * 3


async def test_a_server_that_never_listens_is_given_up(open_client: Open) -> None:
    async with open_client(f"127.0.0.1:{free_port()}") as client:
        with pytest.raises(tm.Unavailable, match=r"make run.*no answer within 0\.2 s"):
            await client.wait_ready(timeout_s=0.2)


async def test_a_server_that_never_gets_ready_is_given_up(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(NotReady(), Hold())

    with pytest.raises(tm.Unavailable, match=r"runs, but was not ready within 0\.2 s"):
        await client.wait_ready(timeout_s=0.2)


async def test_a_server_that_breaks_off_at_the_end_of_the_wait_is_given_up(
    client: Opened, server: FakeTalkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the end of any wait: no time is left for another try
    monkeypatch.setattr("talkingmachines._exchange._READY_POLL_S", 60.0)
    server.script(Fail(grpc.StatusCode.UNAVAILABLE, message="The connection was reset."))

    with pytest.raises(tm.Unavailable, match="connection was reset"):
        await client.wait_ready(timeout_s=30.0)


@pytest.mark.parametrize("status", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED])
async def test_waiting_does_not_help_where_another_server_listens(
    client: Opened, server: FakeTalkServer, status: grpc.StatusCode
) -> None:
    server.script(Fail(status))

    with pytest.raises(tm.ServerError, match="address of a TalkingMachines server"):
        await client.wait_ready(timeout_s=30.0)


async def test_waiting_does_not_help_against_a_broken_server(
    client: Opened, server: FakeTalkServer
) -> None:
    server.script(Fail(grpc.StatusCode.DATA_LOSS, "CORRUPT_FILE", "The weights are corrupt."))

    with pytest.raises(tm.ServerError, match="weights are corrupt"):
        await client.wait_ready(timeout_s=30.0)


async def test_cancelling_the_task_cancels_the_call_and_leaves_no_file(
    server: FakeTalkServer, tmp_path: Path
) -> None:
    server.script(reply("One."), Hold())
    seen = asyncio.Event()
    async with tm.AsyncClient(server.address) as client:
        saving = asyncio.ensure_future(
            client.say("Hello.").save(tmp_path / "a.mp4", on_event=lambda _: seen.set())
        )
        await seen.wait()
        saving.cancel()

        with pytest.raises(asyncio.CancelledError):
            await saving
    assert await asyncio.to_thread(server.wait_abandoned)
    assert files_in(tmp_path) == {}


async def test_a_timeout_around_an_answer_is_a_timeout(server: FakeTalkServer) -> None:
    server.script(Hold())
    async with tm.AsyncClient(server.address) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(client.say("Hello."))

    assert await asyncio.to_thread(server.wait_abandoned)


def full(retry_after_s: float) -> Fail:
    message = "Both slots are taken."
    return Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", message, retry_after_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
