"""TalkService: what `Talker` does, and live talks; its inputs limited."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc

from avatar.errors import AvatarError, DeadlineExceeded, InvalidInput, TooLarge
from services.gateway.guard import Guard
from services.gateway.looks import everybody
from services.gateway.rpc.border import answered, headers_of
from services.gateway.rpc.live import Talks
from services.gateway.rpc.server import Served, name_in
from services.gateway.rpc.states import avatar_of
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
from talkingmachines_api.v1 import live_pb2, talk_pb2, talk_pb2_grpc

HEAR_OUT_S = 0.25
HEAR_OUT_BYTES = 1 << 20

Pieces = AsyncIterator[talk_pb2.AskRequest] | AsyncIterator[talk_pb2.RenderRequest]


class TalkService(talk_pb2_grpc.TalkServiceServicer):
    """Answers Say, Ask, Render, Talk and ListAvatars.

    The methods are coroutines that write, not generators: grpc.aio then cancels them where they
    stand when a caller goes away, and their `finally` clauses run at once.
    """

    def __init__(self, talker: Talker, talks: Talks, limits: Limits, guard: Guard) -> None:
        self._talker = talker
        self._talks = talks
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

        await answered(context, say)

    async def Ask(  # type: ignore[override]  # noqa: N802  a coroutine that writes
        self, request_iterator: AsyncIterator[talk_pb2.AskRequest], context: Any
    ) -> None:
        async def emit(step: TalkStep) -> None:
            await context.write(talk_pb2.AskResponse(event=event_of(step)))

        async def ask() -> None:
            try:
                caller = self._guard.caller(headers_of(context))
                avatar, question = await self._read(request_iterator, "a question")
            except AvatarError:
                await _hear_out(request_iterator)
                raise
            async with self._guard.using(caller):
                await self._talker.ask(avatar, question, emit)

        await answered(context, ask)

    async def Render(  # type: ignore[override]  # noqa: N802  a coroutine that writes
        self, request_iterator: AsyncIterator[talk_pb2.RenderRequest], context: Any
    ) -> None:
        async def emit(step: TalkStep) -> None:
            await context.write(talk_pb2.RenderResponse(event=event_of(step)))

        async def render() -> None:
            try:
                caller = self._guard.caller(headers_of(context))
                avatar, recording = await self._read(request_iterator, "a recording")
            except AvatarError:
                await _hear_out(request_iterator)
                raise
            async with self._guard.using(caller):
                await self._talker.render(avatar, recording, emit)

        await answered(context, render)

    async def Talk(  # type: ignore[override]  # noqa: N802  a coroutine that writes
        self, request_iterator: AsyncIterator[live_pb2.TalkRequest], context: Any
    ) -> None:
        await answered(context, lambda: self._talks.talk(request_iterator, context))

    async def ListAvatars(  # noqa: N802  the protocol's name
        self, request: talk_pb2.ListAvatarsRequest, context: Any
    ) -> talk_pb2.ListAvatarsResponse:
        async def get() -> talk_pb2.ListAvatarsResponse:
            people = await everybody(self._talker.avatars)
            return talk_pb2.ListAvatarsResponse(avatars=map(avatar_of, people))

        return await answered(context, get)

    async def _read(self, requests: Pieces, what: str) -> tuple[str, bytes]:
        """The avatar's name and the file."""
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
                            f"{what} of over {self._limits.question_bytes} bytes; "
                            "send a shorter one"
                        )
        except TimeoutError as error:
            raise DeadlineExceeded(f"{what} was not complete within {patience_s:g} s") from error
        if avatar is None:
            raise InvalidInput("send one config first, then the file's bytes")
        return avatar, bytes(question)


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


async def _hear_out(requests: Pieces) -> None:
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


def served(service: TalkService) -> Served:
    name = name_in(talk_pb2.DESCRIPTOR, "TalkService")

    def add(server: grpc.aio.Server) -> None:
        talk_pb2_grpc.add_TalkServiceServicer_to_server(service, server)

    return Served(name, add)
