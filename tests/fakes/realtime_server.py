"""A small server that speaks the OpenAI Realtime protocol, checks every event, and can misbehave.

Its answers are tones, one for each word, so that a test knows when each word sounds.
"""

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pydantic
from numpy.typing import NDArray
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from avatar.media import Word

RATE = 24_000
KEY, MODEL = "a-secret-key", "talking-model"
LETTER_S, GAP_S, PAUSE_S = 0.06, 0.04, 0.4
LEAD_WORDS = 3
"""The transcript is so far ahead of the sound."""
PIECE = RATE // 10
_CLIENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RealtimeClientEvent)
_SERVER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RealtimeServerEvent)


def spoken(text: str) -> tuple[NDArray[np.float32], list[Word]]:
    """The sound of a text, and when each of its words is in it."""
    sounds: list[NDArray[np.float32]] = []
    words: list[Word] = []
    at = 0
    for number, word in enumerate(text.split()):
        tone = _tone(200 + 20 * (number % 20), LETTER_S * len(word))
        pause = PAUSE_S if word[-1] in ".!?" else GAP_S
        sounds += [tone, np.zeros(round(pause * RATE), np.float32)]
        words.append(Word(word, at / RATE, (at + tone.size) / RATE))
        at += tone.size + sounds[-1].size
    return np.concatenate(sounds), words


def _tone(hertz: float, seconds: float) -> NDArray[np.float32]:
    times = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


@dataclass
class Item:
    """A message of a conversation; `sound` is what the caller said, or how long the answer is."""

    id: str
    role: str
    text: str
    sound: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    truncated_ms: int | None = None


@dataclass
class FakeRealtime:
    """What all its sessions were told, and how it shall behave; may be changed while it runs."""

    base_url: str = ""
    sessions: list["FakeSession"] = field(default_factory=list)
    hears: list[str] = field(default_factory=list)
    """What was said, in order; then "something"."""
    answer: Callable[[str], str] = lambda question: f"You said: {question}"
    fails_with: str = ""
    """The error of the next response."""
    refuses_with: str = ""
    """The error of the next response.create."""
    is_closed: bool = False
    """Nobody gets in."""
    stops_after_s: float | None = None
    """Of an answer; the rest comes with `go_on`."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    wrong: list[str] = field(default_factory=list)
    """What was wrong with events that came or went."""

    @property
    def session(self) -> "FakeSession":
        """The newest."""
        return self.sessions[-1]

    def break_off(self) -> None:
        for session in self.sessions:
            session.connection.transport.abort()

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.is_closed:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "closed\n")
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "who is this?\n")
        if urlsplit(request.path).path != "/v1/realtime":
            return connection.respond(HTTPStatus.NOT_FOUND, "nothing here\n")
        return None

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        model = parse_qs(urlsplit(connection.request.path).query).get("model")
        session = FakeSession(self, connection)
        if model != [MODEL]:
            await session.refuse("invalid_model", None)
            return
        self.sessions.append(session)
        try:
            await session.run()
        except ConnectionClosed:
            pass
        finally:
            session.end()


@asynccontextmanager
async def realtime_server() -> AsyncIterator[FakeRealtime]:
    """One on loopback, until the block ends; fails if anything was against the protocol."""
    fake = FakeRealtime()
    async with serve(fake.serve, "127.0.0.1", 0, process_request=fake.admit) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        fake.base_url = f"http://127.0.0.1:{port}/v1"
        yield fake
    assert not fake.wrong, fake.wrong


class FakeSession:
    """One connection: its conversation, its ears, and what it is saying."""

    def __init__(self, server: FakeRealtime, connection: ServerConnection) -> None:
        self.connection = connection
        self.items: list[Item] = []
        self.received: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.cancelled: list[str] = []
        self._server = server
        self._ids = itertools.count(1)
        self._saying: dict[str, asyncio.Task[None]] = {}
        self._in_conversation: set[str] = set()
        self._buffer = np.zeros(0, np.float32)
        self._heard_ms = self._loud_ms = self._quiet_ms = 0
        self._speech_id = ""

    @property
    def conversation(self) -> list[tuple[str, str]]:
        return [(item.role, item.text) for item in self.items]

    def kinds(self) -> list[str]:
        """What came, but for sound."""
        return [e["type"] for e in self.received if e["type"] != "input_audio_buffer.append"]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.received if event["type"] == kind]

    async def run(self) -> None:
        await self._send("session.created", session={"type": "realtime", "model": MODEL})
        async for message in self.connection:
            event = pydantic.TypeAdapter(dict[str, Any]).validate_json(message)
            try:
                _check_extras(_CLIENT.validate_python(event))
            except (pydantic.ValidationError, AssertionError) as error:
                self._server.wrong.append(str(error))
                continue
            self.received.append(event)
            await getattr(self, "_on_" + event["type"].replace(".", "_"))(event)

    def end(self) -> None:
        for task in self._saying.values():
            task.cancel()

    async def refuse(self, code: str, event_id: str | None) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": "no",
            "event_id": event_id,
        }
        await self._send("error", error=error)

    # What the client says

    async def _on_session_update(self, event: dict[str, Any]) -> None:
        _merge(self.settings, event["session"])
        await self._send("session.updated", session=self.settings)

    async def _on_input_audio_buffer_append(self, event: dict[str, Any]) -> None:
        pcm = np.frombuffer(base64.b64decode(event["audio"]), "<i2").astype(np.float32) / 32767
        self._buffer = np.concatenate([self._buffer, pcm])
        self._heard_ms += round(1000 * pcm.size / RATE)
        detection = self._detection
        if detection is None:
            return
        self._loud_ms, self._quiet_ms = (
            (self._loud_ms + 32, 0) if np.sqrt(np.mean(pcm**2)) > 0.02 else (0, self._quiet_ms + 32)
        )
        if not self._speech_id and self._loud_ms > 60:
            self._speech_id = self._new_id("item")
            start = max(0, self._heard_ms - self._loud_ms - detection["prefix_padding_ms"])
            about = {"audio_start_ms": start, "item_id": self._speech_id}
            await self._send("input_audio_buffer.speech_started", **about)
        elif self._speech_id and self._quiet_ms >= detection["silence_duration_ms"]:
            about = {"audio_end_ms": self._heard_ms, "item_id": self._speech_id}
            await self._send("input_audio_buffer.speech_stopped", **about)
            await self._commit()
            if detection["create_response"]:
                await self._respond({}, None)
        elif not self._speech_id:
            self._buffer = self._buffer[-RATE * detection["prefix_padding_ms"] // 1000 :]

    async def _on_input_audio_buffer_clear(self, event: dict[str, Any]) -> None:
        self._buffer, self._speech_id = np.zeros(0, np.float32), ""
        await self._send("input_audio_buffer.cleared")

    async def _on_input_audio_buffer_commit(self, event: dict[str, Any]) -> None:
        if self._buffer.size < 0.1 * RATE:
            await self.refuse("input_audio_buffer_commit_empty", event["event_id"])
        else:
            await self._commit()

    async def _on_conversation_item_create(self, event: dict[str, Any]) -> None:
        given = event["item"]
        text = " ".join(part["text"] for part in given["content"])
        await self._add(Item(self._new_id("item"), given["role"], text))

    async def _on_conversation_item_delete(self, event: dict[str, Any]) -> None:
        item = self._item(event["item_id"])
        if item is None:
            await self.refuse("item_delete_invalid_item_id", event["event_id"])
            return
        self.items.remove(item)
        await self._send("conversation.item.deleted", item_id=item.id)

    async def _on_conversation_item_truncate(self, event: dict[str, Any]) -> None:
        item = self._item(event["item_id"])
        end_ms = event["audio_end_ms"]
        if item is None or item.role != "assistant" or end_ms > 1000 * item.sound.size / RATE:
            self._server.wrong.append(f"no such item, or not so long: {event}")
            return
        item.truncated_ms = end_ms
        words = spoken(item.text)[1]
        item.text = " ".join(each.text for each in words if each.end_s * 1000 <= end_ms)
        about = {"item_id": item.id, "content_index": 0, "audio_end_ms": end_ms}
        await self._send("conversation.item.truncated", **about)

    async def _on_response_create(self, event: dict[str, Any]) -> None:
        code, self._server.refuses_with = self._server.refuses_with, ""
        if code:
            await self.refuse(code, event["event_id"])
        else:
            await self._respond(event.get("response", {}), event["event_id"])

    async def _on_response_cancel(self, event: dict[str, Any]) -> None:
        task = self._saying.get(event["response_id"])
        if task is None:
            await self.refuse("response_cancel_not_active", event["event_id"])
            return
        task.cancel()
        await asyncio.wait({task})

    # What it says

    async def _commit(self) -> None:
        hears = self._server.hears
        text = hears.pop(0) if hears else "something"
        item = Item(self._speech_id or self._new_id("item"), "user", text, self._buffer)
        self._buffer, self._speech_id = np.zeros(0, np.float32), ""
        await self._send("input_audio_buffer.committed", item_id=item.id)
        await self._add(item)
        name, about = "conversation.item.input_audio_transcription.", {"item_id": item.id}
        for word in text.split():
            await self._send(name + "delta", **about, content_index=0, delta=f"{word} ")
        usage = {"type": "duration", "seconds": item.sound.size / RATE}
        final = {**about, "content_index": 0, "transcript": text, "usage": usage}
        await self._send(name + "completed", **final)

    async def _respond(self, wanted: dict[str, Any], event_id: str | None) -> None:
        is_apart = wanted.get("conversation") == "none"
        if not is_apart and self._in_conversation:
            await self.refuse("conversation_already_has_active_response", event_id)
            return
        question = next((item.text for item in reversed(self.items) if item.role == "user"), "")
        if is_apart:
            text = wanted["instructions"].partition("\n\n")[2]
        else:
            text = self._server.answer(question)
        id = self._new_id("resp")
        response = {"id": id, "metadata": wanted.get("metadata")}
        if not is_apart:
            self._in_conversation.add(id)
        self._saying[id] = asyncio.create_task(self._say(text, response, is_apart))

    async def _say(self, text: str, response: dict[str, Any], is_apart: bool) -> None:
        status: dict[str, Any] = {"status": "completed"}
        try:
            await self._send("response.created", response={**response, "status": "in_progress"})
            code, self._server.fails_with = self._server.fails_with, ""
            if code:
                failure = {"type": "failed", "error": {"type": "server_error", "code": code}}
                status = {"status": "failed", "status_details": failure}
            else:
                await self._speak(text, response["id"], is_apart)
        except asyncio.CancelledError:
            self.cancelled.append(response["id"])
            details = {"type": "cancelled", "reason": "client_cancelled"}
            status = {"status": "cancelled", "status_details": details}
        self._saying.pop(response["id"])
        self._in_conversation.discard(response["id"])
        try:
            await self._send("response.done", response={**response, **status, "output": []})
        except ConnectionClosed:
            pass

    async def _speak(self, text: str, response_id: str, is_apart: bool) -> None:
        item = Item(self._new_id("item"), "assistant", text)
        shown = {"id": item.id, "type": "message", "role": "assistant", "content": []}
        of_response = {"response_id": response_id, "output_index": 0}
        await self._send("response.output_item.added", **of_response, item=shown)
        if not is_apart:
            await self._add(item)
        part = {**of_response, "item_id": item.id, "content_index": 0}
        sound, words = spoken(text)
        unwritten = list(words)
        for at in range(0, sound.size, PIECE):
            if self._server.stops_after_s is not None and at >= self._server.stops_after_s * RATE:
                await self._server.go_on.wait()
            num_begun = sum(word.start_s * RATE <= at + PIECE for word in words)
            while unwritten and len(words) - len(unwritten) < num_begun + LEAD_WORDS:
                space = "" if len(unwritten) == len(words) else " "
                delta = space + unwritten.pop(0).text
                await self._send("response.output_audio_transcript.delta", **part, delta=delta)
            piece = sound[at : at + PIECE]
            item.sound = np.concatenate([item.sound, piece])
            pcm = np.rint(piece * 32767).astype("<i2").tobytes()
            delta = base64.b64encode(pcm).decode()
            await self._send("response.output_audio.delta", **part, delta=delta)
        await self._send("response.output_audio.done", **part)
        await self._send("response.output_audio_transcript.done", **part, transcript=text)
        done = {**shown, "status": "completed"}
        await self._send("response.output_item.done", **of_response, item=done)

    async def _add(self, item: Item) -> None:
        self.items.append(item)
        kind = "output_text" if item.role == "assistant" else "input_text"
        content = [{"type": kind, "text": item.text}]
        shown = {"id": item.id, "type": "message", "role": item.role, "content": content}
        await self._send("conversation.item.added", item=shown)

    @property
    def _detection(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.settings["audio"]["input"]["turn_detection"]
        return found

    def _item(self, id: str) -> Item | None:
        return next((item for item in self.items if item.id == id), None)

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{next(self._ids)}"

    async def _send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": self._new_id("event"), **fields}
        try:
            _SERVER.validate_python(event)
        except pydantic.ValidationError as error:
            self._server.wrong.append(f"{kind}: {error}")
        await self.connection.send(pydantic.TypeAdapter(dict[str, Any]).dump_json(event).decode())


def _merge(into: dict[str, Any], given: dict[str, Any]) -> None:
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _check_extras(model: pydantic.BaseModel) -> None:
    """The client's types let unknown fields pass; a server does not."""
    assert not model.model_extra, f"unknown fields {list(model.model_extra)} in {model!r}"
    for name in model.model_fields_set:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, pydantic.BaseModel):
                _check_extras(each)
