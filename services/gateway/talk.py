"""The talk service: the public gRPC API over `Talker`, its errors rich, its inputs limited."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from avatar.cast.avatars import everyone
from avatar.errors import AvatarError, DeadlineExceeded, InvalidInput, TooLarge, Unavailable
from avatar.telemetry.logging import get_logger
from avatar.transport.status import status_of
from services.gateway.guard import Guard
from services.gateway.malformed import MalformedRequests
from services.gateway.outward import outward
from services.gateway.talker import (
    ChunkReady,
    ReplySentence,
    Summary,
    Talker,
    TalkStep,
    Transcript,
    VideoPiece,
)
from services.settings import Limits
from talkingmachines_api.v1 import talk_pb2, talk_pb2_grpc

log = get_logger(__name__)

SERVICE = talk_pb2.DESCRIPTOR.services_by_name["TalkService"].full_name
MAX_CALLS = 64
MAX_REQUEST_BYTES = 4 << 20
"""Of one message; a question comes in pieces."""
HEAR_OUT_S = 0.25
HEAR_OUT_BYTES = 1 << 20


class TalkService(talk_pb2_grpc.TalkServiceServicer):
    """Answers Say, Ask and ListAvatars.

    The methods are coroutines that write, not generators: grpc.aio then cancels them where they
    stand when a caller goes away, and their `finally` clauses run at once.
    """

    def __init__(self, talker: Talker, limits: Limits, guard: Guard) -> None:
        self._talker = talker
        self._limits = limits
        self._guard = guard

    async def Say(  # type: ignore[override]  # noqa: N802  a coroutine that writes
        self, request: talk_pb2.SayRequest, context: Any
    ) -> None:
        async def emit(step: TalkStep) -> None:
            await context.write(talk_pb2.SayResponse(event=event_of(step)))

        async def say() -> None:
            async with self._guard.using(self._guard.caller(headers_of(context))):
                await self._talker.say(request.avatar_id, request.text, emit)

        await _answered(context, say)

    async def Ask(  # type: ignore[override]  # noqa: N802  a coroutine that writes
        self, request_iterator: AsyncIterator[talk_pb2.AskRequest], context: Any
    ) -> None:
        async def emit(step: TalkStep) -> None:
            await context.write(talk_pb2.AskResponse(event=event_of(step)))

        async def ask() -> None:
            try:
                caller = self._guard.caller(headers_of(context))
                avatar, question = await self._read(request_iterator)
            except AvatarError:
                await _hear_out(request_iterator)
                raise
            async with self._guard.using(caller):
                await self._talker.ask(avatar, question, emit)

        await _answered(context, ask)

    async def ListAvatars(  # noqa: N802  the protocol's name
        self, request: talk_pb2.ListAvatarsRequest, context: Any
    ) -> talk_pb2.ListAvatarsResponse:
        return talk_pb2.ListAvatarsResponse(
            avatars=[
                talk_pb2.Avatar(
                    id=character.id,
                    display_name=character.display_name,
                    description=character.description,
                )
                for character in everyone(self._talker.avatars)
            ]
        )

    async def _read(self, requests: AsyncIterator[talk_pb2.AskRequest]) -> tuple[str, bytes]:
        """The avatar's name and the question's file."""
        avatar: str | None = None
        question = bytearray()
        patience_s = self._limits.upload_s
        try:
            async with asyncio.timeout(patience_s):
                async for request in requests:
                    match request.WhichOneof("message"):
                        case "config" if avatar is None:
                            avatar = self._talker.find(request.config.avatar_id).id
                        case "audio" if avatar is not None:
                            question += request.audio
                        case _:
                            raise InvalidInput("send one config first, then the file's bytes")
                    if len(question) > self._limits.question_bytes:
                        raise TooLarge(
                            f"the question is over {self._limits.question_bytes} bytes; "
                            "send a shorter one"
                        )
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the question was not complete within {patience_s:g} s"
            ) from error
        if avatar is None:
            raise InvalidInput("send one config first, then the file's bytes")
        return avatar, bytes(question)


class TalkServer:
    """The gRPC server of a gateway: talk service, health and reflection."""

    def __init__(self, talker: Talker, limits: Limits, guard: Guard) -> None:
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]  # stubs lack aio
        self._server = grpc.aio.server(
            interceptors=[MalformedRequests(SERVICE, abort)],
            options=[
                ("grpc.so_reuseport", 0),  # a port in use is an error, not a second listener
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
            # a question is held in memory before it is known whether a slot is free
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        service = TalkService(talker, limits, guard)
        talk_pb2_grpc.add_TalkServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Start to listen; returns the port, chosen by the system where `port` is 0."""
        await self.set_ready(False)
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise Unavailable(
                f"port {port} of {host} is in use; choose another one with GRPC_PORT"
            ) from error
        await self._server.start()
        return bound

    async def set_ready(self, ready: bool) -> None:
        status = health_pb2.HealthCheckResponse.ServingStatus
        for name in ("", SERVICE):
            await self._health.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def close(self) -> None:
        """Idempotent."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace=None)


def headers_of(context: Any) -> dict[str, str]:
    """The call's metadata, without what is binary."""
    return {
        key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
    }


async def abort(context: Any, error: AvatarError) -> None:
    """End the call with the error's status, its reason, and how long to wait where that helps."""
    await context.abort_with_status(rpc_status.to_status(status_of(outward(error))))


def event_of(step: TalkStep) -> talk_pb2.TalkEvent:
    match step:
        case Transcript(text):
            return talk_pb2.TalkEvent(transcript=talk_pb2.Transcript(text=text))
        case ReplySentence(text):
            return talk_pb2.TalkEvent(reply=talk_pb2.ReplySentence(text=text))
        case ChunkReady(done, known, media_s, elapsed_s):
            ready = talk_pb2.ChunkReady(
                chunks_done=done,
                chunks_known=known,
                media_seconds=media_s,
                elapsed_seconds=elapsed_s,
            )
            return talk_pb2.TalkEvent(chunk_ready=ready)
        case VideoPiece(content):
            return talk_pb2.TalkEvent(video=talk_pb2.Video(content=content))
        case Summary():
            summary = talk_pb2.TalkSummary(
                frame_count=step.frame_count,
                frame_rate=step.frame_rate,
                audio_seconds=step.audio_s,
                first_chunk_seconds=step.first_chunk_s,
                total_seconds=step.total_s,
                models=step.models,
            )
            return talk_pb2.TalkEvent(summary=summary)


async def _hear_out(requests: AsyncIterator[talk_pb2.AskRequest]) -> None:
    """Read on a little before a refusal: grpc.aio tells who is cut off in the middle of a message
    now and then of an "Internal error from Core", and not of what was wrong.
    """
    num_bytes = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(HEAR_OUT_S):
            async for request in requests:
                num_bytes += len(request.audio)
                if num_bytes > HEAR_OUT_BYTES:
                    return


async def _answered(context: Any, answer: Callable[[], Awaitable[None]]) -> None:
    try:
        await answer()
    except AvatarError as error:
        await abort(context, error)
    except Exception:  # the border: callers get a status, the log the traceback
        log.exception("request_failed")
        await abort(context, AvatarError("the server failed on this request; its log says why"))
