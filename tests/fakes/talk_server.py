"""A TalkService over real gRPC on loopback that answers by script."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no stubs
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from talkingmachines_api.v1 import avatar_pb2, avatar_pb2_grpc, talk_pb2, talk_pb2_grpc
from tests.fakes.video import FRAME_RATE, mp4_bytes

AVATARS = (("mira", "Mira", "A museum guide."), ("otto", "Otto", "A retired clockmaker."))
VIDEO_PIECE_BYTES = 1000


@dataclass(frozen=True)
class Fail:
    """Ends the call with an error, as the server reports one: google.rpc.Status with ErrorInfo.

    Without a reason there are no details, as where a proxy fails.
    """

    status: grpc.StatusCode
    reason: str = ""
    message: str = "It went wrong."
    retry_after_s: float | None = None
    raw_details: bytes | None = None


class Hold:
    """Says nothing more until the caller is gone."""


class NotReady:
    """The answer of the health service while the models are being loaded."""


Step = talk_pb2.TalkEvent | Fail | Hold | NotReady


@dataclass
class Heard:
    """One request, as it arrived."""

    rpc: str
    avatar_id: str = ""
    text: str = ""
    audio: bytes = b""
    num_pieces: int = 0
    arrived_at: float = field(default_factory=time.monotonic)


def transcript(text: str) -> talk_pb2.TalkEvent:
    return talk_pb2.TalkEvent(transcript=talk_pb2.Transcript(text=text))


def reply(text: str) -> talk_pb2.TalkEvent:
    return talk_pb2.TalkEvent(reply=talk_pb2.ReplySentence(text=text))


def chunk_ready(done: int, known: int) -> talk_pb2.TalkEvent:
    progress = talk_pb2.ChunkReady(
        chunks_done=done, chunks_known=known, media_seconds=0.48 * done, elapsed_seconds=0.25 * done
    )
    return talk_pb2.TalkEvent(chunk_ready=progress)


def video(content: bytes) -> list[talk_pb2.TalkEvent]:
    pieces = range(0, len(content), VIDEO_PIECE_BYTES)
    return [
        talk_pb2.TalkEvent(video=talk_pb2.Video(content=content[at : at + VIDEO_PIECE_BYTES]))
        for at in pieces
    ]


def summary() -> talk_pb2.TalkEvent:
    figures = talk_pb2.TalkSummary(
        frame_count=25,
        frame_rate=FRAME_RATE,
        audio_seconds=1.0,
        first_chunk_seconds=0.25,
        total_seconds=0.75,
        models=["chat: scripted", "speech: a tone"],
    )
    return talk_pb2.TalkEvent(summary=figures)


def whole_answer(text: str) -> list[talk_pb2.TalkEvent]:
    """An answer of one sentence, three chunks and a real MP4 file."""
    chunks = [chunk_ready(done, 3) for done in (1, 2, 3)]
    return [reply(text), *chunks, *video(mp4_bytes()), summary()]


class FakeTalkServer:
    """Serves on a free port of 127.0.0.1, or on `port`, while its `with` block runs.

    Each call plays the next script given by `script`; with none left, `say` says its text and
    `ask` hears "What is your name?". `heard` holds the requests in order of arrival.
    """

    def __init__(self, port: int = 0) -> None:
        self.heard: list[Heard] = []
        self._scripts: deque[list[Step]] = deque()
        self._called = threading.Semaphore(0)
        self._abandoned = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(max_workers=8)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        talk_pb2_grpc.add_TalkServiceServicer_to_server(
            _Servicer(self),  # type: ignore[abstract]  # live talks are not played here
            self._server,
        )
        avatar_pb2_grpc.add_AvatarServiceServicer_to_server(
            _AvatarServicer(self),  # type: ignore[abstract]  # none is made here
            self._server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(_HealthServicer(self), self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop(grace=None).wait()
        self._pool.shutdown()

    def script(self, *steps: Step) -> None:
        """What the next call plays."""
        self._scripts.append(list(steps))

    def wait_called(self, timeout_s: float = 10.0) -> bool:
        """Whether a call arrives within `timeout_s`."""
        return self._called.acquire(timeout=timeout_s)

    def wait_abandoned(self, timeout_s: float = 10.0) -> bool:
        """Whether a caller leaves before the end of its answer within `timeout_s`."""
        return self._abandoned.acquire(timeout=timeout_s)

    def note(self, heard: Heard) -> None:
        self.heard.append(heard)
        self._called.release()

    def take_script(self, otherwise: list[Step]) -> list[Step]:
        return self._scripts.popleft() if self._scripts else otherwise

    def play(
        self, steps: list[Step], context: grpc.ServicerContext
    ) -> Iterator[talk_pb2.TalkEvent]:
        gone = threading.Event()
        is_finished = False

        def on_end() -> None:
            gone.set()
            if not is_finished:
                self._abandoned.release()

        context.add_callback(on_end)
        for step in steps:
            if isinstance(step, Fail):
                is_finished = True
                abort(step, context)
            elif isinstance(step, Hold):
                gone.wait()
                return
            elif isinstance(step, talk_pb2.TalkEvent):
                yield step
        is_finished = True


class _Servicer(talk_pb2_grpc.TalkServiceServicer):
    def __init__(self, server: FakeTalkServer) -> None:
        self._server = server

    def Say(  # noqa: N802  # named by the proto
        self, request: talk_pb2.SayRequest, context: grpc.ServicerContext
    ) -> Iterator[talk_pb2.SayResponse]:
        self._server.note(Heard("Say", request.avatar_id, request.text))
        _check_avatar(request.avatar_id, context)
        steps = self._server.take_script(otherwise=[*whole_answer(request.text)])
        for event in self._server.play(steps, context):
            yield talk_pb2.SayResponse(event=event)

    def Ask(  # noqa: N802  # named by the proto
        self, request_iterator: Iterator[talk_pb2.AskRequest], context: grpc.ServicerContext
    ) -> Iterator[talk_pb2.AskResponse]:
        heard = Heard("Ask")
        self._server.note(heard)
        first = next(request_iterator)
        if first.WhichOneof("message") != "config":
            message = "The first message of Ask is its config."
            abort(Fail(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", message), context)
        heard.avatar_id = first.config.avatar_id
        _check_avatar(heard.avatar_id, context)
        for request in request_iterator:
            heard.audio += request.audio
            heard.num_pieces += 1
        answer = [transcript("What is your name?"), *whole_answer("I am Mira.")]
        steps = self._server.take_script(otherwise=[*answer])
        for event in self._server.play(steps, context):
            yield talk_pb2.AskResponse(event=event)


class _AvatarServicer(avatar_pb2_grpc.AvatarServiceServicer):
    def __init__(self, server: FakeTalkServer) -> None:
        self._server = server

    def ListAvatars(  # noqa: N802  # named by the proto
        self, request: avatar_pb2.AvatarServiceListAvatarsRequest, context: grpc.ServicerContext
    ) -> avatar_pb2.AvatarServiceListAvatarsResponse:
        self._server.note(Heard("ListAvatars"))
        for _ in self._server.play(self._server.take_script(otherwise=[]), context):
            raise AssertionError("ListAvatars answers with no event")
        avatars = [
            talk_pb2.Avatar(id=id_, display_name=name, description=description)
            for id_, name, description in AVATARS
        ]
        details = [avatar_pb2.AvatarDetails(avatar=each, is_shipped=True) for each in avatars]
        return avatar_pb2.AvatarServiceListAvatarsResponse(avatars=details)


class _HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # no stubs
    def __init__(self, server: FakeTalkServer) -> None:
        self._server = server

    def Watch(  # noqa: N802  # named by the proto
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[health_pb2.HealthCheckResponse]:
        self._server.note(Heard("Watch", text=request.service))
        gone = threading.Event()
        context.add_callback(gone.set)
        state = health_pb2.HealthCheckResponse
        for step in self._server.take_script(otherwise=[]):
            match step:
                case NotReady():
                    yield state(status=state.NOT_SERVING)
                case Fail():
                    abort(step, context)
                case _:
                    gone.wait()
                    return
        yield state(status=state.SERVING)
        gone.wait()


def _check_avatar(avatar_id: str, context: grpc.ServicerContext) -> None:
    known = [avatar[0] for avatar in AVATARS]
    if avatar_id and avatar_id not in known:
        message = f"No avatar {avatar_id!r}: there are {', '.join(known)}."
        abort(Fail(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", message), context)


def abort(fail: Fail, context: grpc.ServicerContext) -> None:
    """Ends the call with the error."""
    if fail.raw_details is not None:
        context.set_trailing_metadata((("grpc-status-details-bin", fail.raw_details),))
        context.abort(fail.status, fail.message)
    if not fail.reason and fail.retry_after_s is None:
        context.abort(fail.status, fail.message)
    status = status_pb2.Status(code=fail.status.value[0], message=fail.message)
    if fail.reason:
        info = error_details_pb2.ErrorInfo(reason=fail.reason, domain="talkingmachines")
        status.details.append(_packed(info))
    if fail.retry_after_s is not None:
        delay = Duration(nanos=round(fail.retry_after_s % 1 * 1e9), seconds=int(fail.retry_after_s))
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    context.abort_with_status(rpc_status.to_status(status))


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
