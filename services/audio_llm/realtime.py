"""A live conversation held by a speech-to-speech model, over the OpenAI Realtime protocol."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types import realtime as protocol
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent

from avatar.cast.avatars import character_of
from avatar.cast.characters import Character
from avatar.errors import InvalidInput, ModelServerUnreachable, NotOffered
from avatar.media import SPEECH_RATE, AudioChunk, TurnEvent
from avatar.speech.remote import ModelServer
from avatar.telemetry.logging import get_logger
from avatar.transport import Inbound
from services.audio_llm.backend import Outbound
from services.audio_llm.realtime_call import RealtimeCall
from services.audio_llm.realtime_protocol import connected, explained, settings
from services.worker import task_group

log = get_logger(__name__)

VOICES: Final = {"mira": "marin", "otto": "cedar", "zuri": "coral", "finn": "ash"}
"""OpenAI's voices that come nearest to the characters."""
TRANSCRIPTION_MODEL: Final = "gpt-transcribe"
RETRY_S: Final = 10.0
"""A server that is gone is looked for so often, and whenever somebody types."""
MAX_UNSENT: Final = 512
"""About 16 s of the microphone."""
MAX_DEFERRED: Final = 8
"""Typed turns that wait for the connection."""


class RealtimeLive:
    """Live conversations in which one model hears, thinks and speaks; a `LiveBackend`."""

    def __init__(
        self,
        server: ModelServer,
        voice: str,
        transcription_model: str,
        max_reply_s: float,
        find: Callable[[str], Character] = character_of,
    ) -> None:
        """Nothing is connected before a conversation begins.

        Args:
            server: Where the model is.
            voice: The server's name of a voice; empty: one of OpenAI's for each character.
            transcription_model: Writes down what the caller says, which the other hears by itself;
                empty: OpenAI's.
            max_reply_s: Longest answer, in seconds.
            find: Knows the characters by name.
        """
        self._server, self._voice = server, voice
        self._transcription_model = transcription_model or TRANSCRIPTION_MODEL
        self._max_reply_s = max_reply_s
        self._find = find

    async def start(self) -> None:
        """Nothing to load: the model is the server's."""

    async def converse(
        self, inbound: Inbound, out: Outbound, character: Character, answers: bool = True, /
    ) -> None:
        if not answers:
            raise NotOffered(
                "a speech-to-speech model answers by itself; unset OPENAI_REALTIME_MODEL to have "
                "your own program answer"
            )
        call = RealtimeCall(self._server, out, self._max_reply_s)
        line = _Line(self._server, self._greeting(character), call, out)
        async with task_group() as tasks:
            keeping = tasks.create_task(line.keep())
            try:
                while (piece := await inbound.receive()) is not None:
                    match piece:
                        case AudioChunk(sample_rate=rate) if rate != SPEECH_RATE:
                            raise InvalidInput(f"{rate} Hz given, {SPEECH_RATE} Hz expected")
                        case AudioChunk():
                            call.hear(piece.samples)
                        case TurnEvent(kind="character", text=name):
                            character = self._find(name)
                            line.greeting = self._greeting(character)
                            call.become(character.persona)
                        case TurnEvent():
                            line.handle(piece)
                        case _:
                            raise InvalidInput(
                                "a live conversation takes AudioChunk and TurnEvent, "
                                f"{type(piece).__name__} given"
                            )
            finally:
                call.close()
                keeping.cancel()

    def _greeting(self, character: Character) -> RealtimeClientEventParam:
        voice = self._voice or VOICES.get(character.id, "marin")
        return settings(character.persona, voice, self._transcription_model)

    async def close(self) -> None:
        """Every conversation closes its own connection."""


class _Line:
    """Keeps a conversation connected to its server."""

    def __init__(
        self,
        server: ModelServer,
        greeting: RealtimeClientEventParam,
        call: RealtimeCall,
        out: Outbound,
    ) -> None:
        self.greeting = greeting
        self._server, self._call, self._out = server, call, out
        self._is_wanted = asyncio.Event()
        self._deferred: deque[TurnEvent] = deque()
        self._num_sent = 0
        self._is_proven = False

    def handle(self, event: TurnEvent) -> None:
        """Pass on what the gateway says; what wants an answer waits for the connection."""
        wants_server = event.kind in ("prompt", "text", "hold_turn", "end_of_question")
        if self._call.is_connected or not wants_server:
            self._call.handle(event)
            return
        if event.kind in ("prompt", "text", "end_of_question"):
            if len(self._deferred) == MAX_DEFERRED:
                self._deferred.popleft()
            self._deferred.append(event)
        self._is_wanted.set()

    async def keep(self) -> None:
        """Connect, and again where the connection is lost, until cancelled."""
        may_hurry, is_told, trouble = True, False, ""
        while True:
            self._is_wanted.clear()
            self._is_proven = False
            try:
                async with connected(self._server) as connection:
                    await self._talk(connection)
            except ModelServerUnreachable as error:
                trouble, cause = str(error), error.__cause__
                log.warning("realtime_lost", cause=trouble, error=type(cause).__name__)
            was_connected = self._call.is_connected
            if was_connected:
                self._call.lost()
                is_told = False
            may_hurry = may_hurry or self._is_proven
            if was_connected and may_hurry:
                may_hurry = False
                continue
            was_awaited = self._call.unreachable(trouble)
            if not (
                self._deferred or is_told or was_awaited
            ):  # who speaks cannot be heard, so it is said now
                self._out.tell("failed", trouble, epoch=self._out.epoch)
            while self._deferred:
                self._call.unanswerable(self._deferred.popleft(), trouble)
            is_told = True
            try:
                async with asyncio.timeout(RETRY_S):
                    await self._is_wanted.wait()
            except TimeoutError:
                pass

    async def _talk(self, connection: AsyncRealtimeConnection) -> None:
        """Until the connection is lost, which raises ModelServerUnreachable."""
        async with asyncio.timeout(self._server.timeout_s):
            await self._next(connection, "session.created")
            await self._send(connection, self.greeting)
            await self._next(connection, "session.updated")
        unsent: asyncio.Queue[RealtimeClientEventParam] = asyncio.Queue(MAX_UNSENT)
        self._call.connected(unsent.put_nowait)
        while self._deferred:
            turn = self._deferred.popleft()
            if turn.kind == "end_of_question":  # what was said is not there
                self._call.unanswerable(turn, "the connection came too late: please say it again")
            else:
                self._call.handle(turn)
        async with task_group() as tasks:
            tasks.create_task(self._send_all(connection, unsent))
            while True:
                event = await self._receive(connection)
                self._is_proven = self._is_proven or event.type == "response.done"
                try:
                    self._call.take(event)
                except (ValueError, TypeError, AttributeError):  # not what the protocol says it is
                    log.warning("realtime_event_unusable", kind=event.type)

    async def _next(self, connection: AsyncRealtimeConnection, kind: str) -> None:
        """Wait for an event; an error before it is the end."""
        while (event := await self._receive(connection)).type != kind:
            if isinstance(event, protocol.RealtimeErrorEvent):
                code, type = event.error.code or "", event.error.type or ""
                raise ModelServerUnreachable(explained(self._server, code, type))

    async def _receive(self, connection: AsyncRealtimeConnection) -> RealtimeServerEvent:
        unusable = f"{self._server.label} sends nothing usable: check OPENAI_BASE_URL"
        try:
            event = await connection.recv()
        except ValueError as error:
            raise ModelServerUnreachable(unusable) from error
        if not isinstance(getattr(event, "type", None), str):
            raise ModelServerUnreachable(unusable)
        return event

    async def _send_all(
        self,
        connection: AsyncRealtimeConnection,
        unsent: "asyncio.Queue[RealtimeClientEventParam]",
    ) -> None:
        while True:
            event = await unsent.get()
            async with asyncio.timeout(self._server.timeout_s / 2):
                await self._send(connection, event)

    async def _send(
        self, connection: AsyncRealtimeConnection, event: RealtimeClientEventParam
    ) -> None:
        """Each event has an id, so that an error can say which one it is about."""
        self._num_sent += 1
        event.setdefault("event_id", f"event-{self._num_sent}")
        await connection.send(event)
