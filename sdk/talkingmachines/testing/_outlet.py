"""What a mock server tells in a talk, in order, to somebody who may read slowly or leave."""

import itertools
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from talkingmachines.testing._desk import MockSession
from talkingmachines.testing._faults import Fault
from talkingmachines_api.v1 import live_pb2, media_pb2

WINDOW_MS: Final = 1000
"""Reply audio that may lie unplayed."""
PULSE_S: Final = 2.0


class Outlet:
    """Takes messages from several threads; `responses` gives them to the one that sends."""

    def __init__(self, session: MockSession) -> None:
        self.gone = threading.Event()
        self._session = session
        self._waiting: queue.Queue[live_pb2.TalkResponse | Fault | None] = queue.Queue(256)
        self._sent_ms, self._played_ms = 0, 0
        self._events = itertools.count(1)

    def responses(self) -> Iterator[live_pb2.TalkResponse | Fault]:
        """All messages, until the end; a fault is the last."""
        while True:
            try:
                message = self._waiting.get(timeout=PULSE_S)
            except queue.Empty:
                message = self.credit()  # says nothing but that the server lives
            if message is None:
                return
            yield message

    def put(self, message: live_pb2.TalkResponse | Fault | None) -> None:
        """Waits for who reads slowly, but for nobody who is gone; None is the end."""
        while not self.gone.is_set():
            try:
                self._waiting.put(message, timeout=0.1)
                return
            except queue.Full:
                pass

    def close(self) -> None:
        """Nobody reads any more."""
        self.gone.set()
        with suppress(queue.Full):  # then nobody waits for a message either
            self._waiting.put_nowait(None)

    def tell(self, **what: Any) -> None:
        """An event, named as in the proto."""
        event = live_pb2.CallEvent(
            event_id=f"event-{next(self._events)}",
            time_milliseconds=self._session.at // 48,
            **what,
        )
        self.put(live_pb2.TalkResponse(event=event))

    def set_state(self, state: "media_pb2.Behaviour.ValueType") -> None:
        self.tell(state=live_pb2.StateChange(state=state))

    # Reply audio

    def has_room(self, milliseconds: int) -> bool:
        """Whether so much more may come; it has."""
        self._sent_ms += milliseconds
        return self._sent_ms <= self._played_ms + WINDOW_MS

    def grant(self, milliseconds: int) -> None:
        self._played_ms += milliseconds
        self.put(self.credit())

    def credit(self) -> live_pb2.TalkResponse:
        credit = live_pb2.ReplyCredit(granted_milliseconds=self._played_ms + WINDOW_MS)
        return live_pb2.TalkResponse(reply_credit=credit)
