"""Answers of a speech-to-speech model: asked for, recognised when they come, watched, dropped."""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from openai.types import realtime as protocol
from openai.types.realtime import (
    RealtimeClientEventParam,
    RealtimeError,
    RealtimeResponse,
    RealtimeServerEvent,
)
from openai.types.realtime.realtime_response_create_params_param import (
    RealtimeResponseCreateParamsParam,
)

from avatar.speech.remote import ModelServer
from avatar.telemetry.logging import get_logger
from services.audio_llm.backend import Outbound
from services.audio_llm.realtime_answer import Answer
from services.audio_llm.realtime_protocol import decoded, explained

log = get_logger(__name__)

Ending = Literal["end_of_reply", "failed"]
NUMBER: Final = "answer"
"""In a response's metadata: which one of those that we asked for it is."""


class Answers:
    """At most one is current: expected, told, or sounding. Every method returns at once."""

    def __init__(
        self,
        server: ModelServer,
        out: Outbound,
        tell: Callable[[RealtimeClientEventParam], None],
        max_reply_s: float,
    ) -> None:
        self.current: Answer | None = None
        self.may_be_told = True
        self._server, self._out, self._tell, self._max_reply_s = server, out, tell, max_reply_s
        self._num_asked = 0
        self._asked: dict[str, tuple[Answer, RealtimeResponseCreateParamsParam]] = {}
        self._refused: list[tuple[Answer, RealtimeResponseCreateParamsParam]] = []
        """To be asked for again when the server is done with what it is saying."""
        self._orphan: Answer | None = None
        """Its connection was lost before it had begun."""
        self._by_server: Answer | None = None
        """The server begins it by itself."""
        self._responses: dict[str, Answer] = {}
        self._watch: asyncio.TimerHandle | None = None

    def expect(self, *, is_spoken_only: bool = False, by_server: bool = False) -> Answer:
        """The next answer takes the place of the current one."""
        self.drop_current()
        self.current = Answer(
            self._out,
            is_spoken_only=is_spoken_only,
            is_open=self.may_be_told,
            max_seconds=self._max_reply_s,
        )
        if by_server:
            self._by_server = self.current
        self._watch_current()
        return self.current

    def ask(self, answer: Answer, response: RealtimeResponseCreateParamsParam) -> None:
        """Ask the server for it, now or when it has finished the one before."""
        if any(not each.is_spoken_only for each in self._responses.values()):
            self._refused.append((answer, response))
            return
        answer.request = response
        self._num_asked += 1
        number = f"answer-{self._num_asked}"
        self._asked[number] = answer, response
        response = {**response, "metadata": {NUMBER: number}}
        self._tell({"type": "response.create", "event_id": number, "response": response})

    def drop_current(self) -> Answer | None:
        """Nothing more of it is made or told."""
        answer, self.current = self.current, None
        if answer is not None:
            answer.drop()
            if answer.response_id in self._responses:
                self._cancel(answer)
        self._watch_current()
        return answer

    def drop_next(self) -> None:
        """What the server begins next by itself is not wanted."""
        current, self.current = self.current, None
        self.expect(by_server=True)
        self.drop_current()
        self.current = current

    def lost(self, trouble: str, *, is_question_known: bool) -> None:
        """The connection has gone, and with it what was about to be said.

        An answer that had not begun is asked for again when there is a connection, if its question
        is known there.
        """
        self._asked.clear()
        self._refused.clear()
        self._responses.clear()
        self._by_server = None
        answer = self.current
        if answer is None:
            return
        answer.forget_items()
        if answer.is_ended:
            return
        if answer.is_empty and (is_question_known or answer.is_spoken_only):
            self._orphan = answer
        else:
            self._fail(answer, trouble)

    def connected(self) -> None:
        """There is a new connection, and it knows the conversation."""
        orphan, self._orphan = self._orphan, None
        if orphan is not None and not orphan.is_ended:
            self.ask(orphan, orphan.request)

    def unreachable(self, trouble: str) -> bool:
        """None can be had now; returns whether an answer waited for it."""
        orphan, self._orphan = self._orphan, None
        if orphan is None or orphan.is_ended:
            return False
        self._fail(orphan, trouble)
        return True

    def close(self) -> None:
        self._responses.clear()
        self.drop_current()

    def take(self, event: RealtimeServerEvent) -> None:
        """What the server says of its answers."""
        match event:
            case protocol.ResponseCreatedEvent():
                self._created(event.response)
            case protocol.ResponseDoneEvent():
                self._done(event.response)
            case protocol.RealtimeErrorEvent():
                self._on_error(event.error)
            case _:
                answer = self._responses.get(getattr(event, "response_id", ""))
                if answer is not None:
                    self._grows(answer, event)

    def _created(self, response: RealtimeResponse) -> None:
        number = (response.metadata or {}).get(NUMBER, "")
        if number in self._asked:
            answer, _ = self._asked.pop(number)
        else:
            answer, self._by_server = self._by_server or self.expect(), None
        answer.response_id = response.id or ""
        self._responses[answer.response_id] = answer
        if answer.is_dropped:
            self._cancel(answer)

    def _grows(self, answer: Answer, event: RealtimeServerEvent) -> None:
        if answer is self.current:
            self._watch_current()
        match event:
            case protocol.ResponseOutputItemAddedEvent():
                if event.item.type == "message" and event.item.id:
                    for order in answer.add_item(event.item.id):
                        self._tell(order)
            case protocol.ResponseAudioTranscriptDeltaEvent():
                answer.add_text(event.delta)
            case protocol.ResponseAudioTranscriptDoneEvent():
                answer.end_text()
            case protocol.ResponseAudioDeltaEvent():
                answer.add_sound(event.item_id, event.content_index, decoded(event.delta))
            case _:
                pass

    def _done(self, response: RealtimeResponse) -> None:
        answer = self._responses.pop(response.id or "", None)
        refused, self._refused = self._refused, []
        for each, wanted in refused:
            if not each.is_dropped:
                self.ask(each, wanted)
        if answer is None or answer.is_dropped:
            return
        details = response.status_details
        if response.status == "failed":
            error = details.error if details is not None else None
            code, type = (error.code, error.type) if error is not None else ("", "")
            self._fail(answer, explained(self._server, code or "", type or ""))
        elif answer.has_sound:
            self._end(answer, "end_of_reply", self._server.label)
        else:
            reason = (details.reason if details is not None else None) or "no reason given"
            self._fail(answer, f"{self._server.label} gave no answer: {reason}")

    def _on_error(self, error: RealtimeError) -> None:
        code, type = error.code or "", error.type or ""
        log.warning("realtime_error", code=code, error_type=type)
        asked = self._asked.pop(error.event_id or "", None)
        if asked is not None and "active_response" in code and self._responses:
            self._refused.append(asked)
        elif asked is not None and not asked[0].is_dropped:
            self._fail(asked[0], explained(self._server, code, type))
        elif not error.event_id and (answer := self._by_server) is not None:
            self._by_server = None
            if not answer.is_dropped:
                self._fail(answer, explained(self._server, code, type))

    def _fail(self, answer: Answer, trouble: str) -> None:
        log.warning("answer_failed", cause=trouble)
        self._end(answer, "failed", trouble)

    def _end(self, answer: Answer, kind: Ending, text: str) -> None:
        def told(answer: Answer) -> None:
            self._out.tell(kind, text, epoch=answer.epoch)
            if answer is self.current and answer.is_silent:  # nothing will be heard of it
                self.current = None

        answer.end(told)
        self._watch_current()

    def _cancel(self, answer: Answer) -> None:
        self._tell({"type": "response.cancel", "response_id": answer.response_id})

    def _watch_current(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.current is not None and not self.current.is_ended:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(self._server.timeout_s, self._overdue, self.current)

    def _overdue(self, answer: Answer) -> None:
        if answer.response_id in self._responses:
            self._cancel(answer)
        self._fail(
            answer, f"{self._server.label} said nothing for {self._server.timeout_s:g} s: try again"
        )
