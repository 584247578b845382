"""The services of a mock server, over real gRPC."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from talkingmachines.testing import _play
from talkingmachines.testing._connection import Connection, seconds_of
from talkingmachines.testing._desk import Desk, MockSession
from talkingmachines.testing._faults import Fault
from talkingmachines_api.v1 import live_pb2, talk_pb2, talk_pb2_grpc

PIECE_BYTES = 4096
NUM_CHUNKS = 3


class Talk(talk_pb2_grpc.TalkServiceServicer):
    """Answers of one file, and live talks."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def Say(  # noqa: N802  # named by the proto
        self, request: talk_pb2.SayRequest, context: grpc.ServicerContext
    ) -> Iterator[talk_pb2.SayResponse]:
        self._desk.begin("Say", request, context)
        for event in self._made(request.avatar_id, [], request.text, context):
            yield talk_pb2.SayResponse(event=event)

    def Ask(  # noqa: N802  # named by the proto
        self, request_iterator: Iterator[talk_pb2.AskRequest], context: grpc.ServicerContext
    ) -> Iterator[talk_pb2.AskResponse]:
        avatar, num_bytes = recording(request_iterator)
        self._desk.note("Ask", {"avatar_id": avatar, "bytes": num_bytes})
        self._desk.fail_if_told("Ask", context)
        heard = talk_pb2.Transcript(text=self._desk.transcript)
        first = [talk_pb2.TalkEvent(transcript=heard)]
        for event in self._made(avatar, first, self._desk.reply, context):
            yield talk_pb2.AskResponse(event=event)

    def Render(  # noqa: N802  # named by the proto
        self, request_iterator: Iterator[talk_pb2.RenderRequest], context: grpc.ServicerContext
    ) -> Iterator[talk_pb2.RenderResponse]:
        avatar, num_bytes = recording(request_iterator)
        self._desk.note("Render", {"avatar_id": avatar, "bytes": num_bytes})
        self._desk.fail_if_told("Render", context)
        for event in self._made(avatar, [], "", context):
            yield talk_pb2.RenderResponse(event=event)

    def ListAvatars(  # noqa: N802  # named by the proto
        self, request: talk_pb2.ListAvatarsRequest, context: grpc.ServicerContext
    ) -> talk_pb2.ListAvatarsResponse:
        self._desk.begin("ListAvatars", request, context)
        avatars = [
            talk_pb2.Avatar(
                id=each.id, display_name=each.display_name, description=each.description
            )
            for each in self._desk.avatars
        ]
        return talk_pb2.ListAvatarsResponse(avatars=avatars)

    def Talk(  # noqa: N802  # named by the proto
        self, request_iterator: Iterator[live_pb2.TalkRequest], context: grpc.ServicerContext
    ) -> Iterator[live_pb2.TalkResponse]:
        first = next(request_iterator, live_pb2.TalkRequest())
        self._desk.begin("Talk", first, context)
        if first.WhichOneof("message") != "open":
            Fault("INVALID_INPUT", "The first message of Talk is `open`.").end(context)
        session = self._desk.session(first.open.session_id, context)
        connection = self._connect(session, first.open)
        context.add_callback(connection.part)
        hearing = threading.Thread(
            target=self._hear, args=(request_iterator, connection), daemon=True
        )
        hearing.start()
        try:
            for response in connection.responses():
                if isinstance(response, Fault):
                    response.end(context)
                yield response
        finally:
            self._disconnect(session, connection)

    def _connect(self, session: MockSession, opening: live_pb2.TalkOpen) -> Connection:
        connection = Connection(self._desk, session, opening)
        with self._desk.changed:
            replaced, session.connection = session.connection, connection
            ended = session.ended
            self._desk.changed.notify_all()
        if ended:  # while we connected
            connection.end(ended)
        if replaced is not None:
            replaced.end("replaced")
        return connection

    def _disconnect(self, session: MockSession, connection: Connection) -> None:
        connection.close()
        with self._desk.changed:
            if session.connection is connection:
                session.connection = None
            self._desk.changed.notify_all()

    def _hear(self, requests: Iterator[live_pb2.TalkRequest], connection: Connection) -> None:
        try:
            for request in requests:
                self._note(request)
                connection.hear(request)
            connection.end("hung_up")
        except grpc.RpcError:
            pass  # the caller is gone
        except Exception:  # noqa: BLE001  # gRPC's own way to say that a call was cancelled
            pass

    def _note(self, request: live_pb2.TalkRequest) -> None:
        name = request.WhichOneof("message")
        if name == "microphone":
            self._desk.note("Talk.microphone", {"seconds": seconds_of(request.microphone)})
        elif name == "reply" and request.reply.WhichOneof("piece") == "speech":
            self._desk.note("Talk.reply", {"seconds": seconds_of(request.reply.speech)})
        else:
            self._desk.note_message(f"Talk.{name}", request)

    def _made(
        self, avatar: str, first: list[talk_pb2.TalkEvent], text: str, context: grpc.ServicerContext
    ) -> Iterator[talk_pb2.TalkEvent]:
        """An answer, in a slot of its own; its video waits while playback is held."""
        desk = self._desk
        desk.check_key(context)
        desk.check_avatar(avatar, context)
        with desk.changed:
            is_admitted = desk.num_free() > 0
            desk.num_renders += is_admitted
        if not is_admitted:
            full(desk).end(context)
        context.add_callback(desk.wake)
        try:
            yield from first
            if text:
                yield talk_pb2.TalkEvent(reply=talk_pb2.ReplySentence(text=text))
            with desk.changed:
                desk.changed.wait_for(lambda: desk.hold_after is None or not context.is_active())
            yield from video()
        finally:
            with desk.changed:
                desk.num_renders -= 1
                desk.changed.notify_all()


def full(desk: Desk) -> Fault:
    message = f"All {desk.slots} slots are taken."
    return Fault("NO_FREE_SLOT", message, retry_after_s=1.0, position=len(desk.line) + 1)


def recording(requests: Iterator[Any]) -> tuple[str, int]:
    """The avatar's name and the size of the file."""
    avatar, num_bytes = "", 0
    for request in requests:
        if request.WhichOneof("message") == "config":
            avatar = request.config.avatar_id
        num_bytes += len(request.audio)
    return avatar, num_bytes


def video() -> Iterator[talk_pb2.TalkEvent]:
    """Three chunks, a real MP4 file of a second, and its figures."""
    for done in range(1, NUM_CHUNKS + 1):
        ready = talk_pb2.ChunkReady(
            chunks_done=done,
            chunks_known=NUM_CHUNKS,
            media_seconds=0.48 * done,
            elapsed_seconds=0.25 * done,
        )
        yield talk_pb2.TalkEvent(chunk_ready=ready)
    content = _play.media("answer.mp4")
    for at in range(0, len(content), PIECE_BYTES):
        piece = talk_pb2.Video(content=content[at : at + PIECE_BYTES])
        yield talk_pb2.TalkEvent(video=piece)
    figures = talk_pb2.TalkSummary(
        frame_count=25,
        frame_rate=25,
        audio_seconds=1.0,
        first_chunk_seconds=0.25,
        total_seconds=0.75,
        models=["chat: scripted", "speech: a tone"],
    )
    yield talk_pb2.TalkEvent(summary=figures)
