"""What a live session has sent and the program has not read yet."""

import asyncio
from collections import deque
from typing import Final, Literal

from talkingmachines._errors import EventsLost, TalkError
from talkingmachines._live_events import Frame, LiveEvent, LiveStep, Picture

MAX_FRAMES: Final = 750
"""Ten seconds of 25 pictures and 50 pieces of sound; of a live call nobody wants older ones."""
MAX_EVENTS: Final = 4096
"""Hundreds of turns. Who reads none of them, only frames, is let go on; who reads them too late is
told: a gap among events would be a lie about what was said."""

Kind = Literal["all", "events", "frames"]


class Inbox:
    """Keeps steps in order; for one event loop.

    Where too many are unread, of frames the newest are kept, and of events the oldest: after those
    comes EventsLost. Reading goes on whether the program takes its steps or not: credit and
    interruptions come the same way.
    """

    def __init__(self) -> None:
        self.num_dropped = 0
        self._frames: deque[tuple[int, Frame]] = deque()
        self._events: deque[tuple[int, LiveEvent]] = deque()
        self._num_put = 0
        self._needs_key = False
        self._are_events_lost = False
        self._is_over = False
        self._error: TalkError | None = None
        self._news = asyncio.Event()

    def put(self, step: LiveStep) -> None:
        self._num_put += 1
        if isinstance(step, LiveEvent):
            self._are_events_lost = self._are_events_lost or len(self._events) >= MAX_EVENTS
            if not self._are_events_lost:
                self._events.append((self._num_put, step))
        else:
            self._frames.append((self._num_put, step))
            if len(self._frames) > MAX_FRAMES:
                self._drop(self._frames.popleft()[1])
        self._news.set()

    def finish(self, error: TalkError | None) -> None:
        """Nothing more comes; `error` is raised once all is read."""
        self._is_over, self._error = True, error
        self._news.set()

    async def take(self, kind: Kind) -> LiveStep | None:
        """The next step of that kind; None after the last one.

        Raises:
            EventsLost: All events that could be kept are read, and there were more.
            TalkError: What ended the session, if it was an error.
        """
        while (step := self._pop(kind)) is None:
            if self._are_events_lost and kind != "frames":
                raise _events_lost()
            if self._is_over:
                if self._error is not None:
                    raise self._error
                return None
            self._news.clear()
            await self._news.wait()
        return step

    def _pop(self, kind: Kind) -> LiveStep | None:
        self._skip_undecodable()
        queues = {"all": (self._frames, self._events), "events": (self._events,)}
        if self._are_events_lost and not self._events and kind == "all":
            return None  # the frames that are left came after events that are not there
        filled = [queue for queue in queues.get(kind, (self._frames,)) if queue]
        if not filled:
            return None
        oldest = min(filled, key=lambda queue: queue[0][0])
        return oldest.popleft()[1]

    def _skip_undecodable(self) -> None:
        """After a gap pictures go on with one that needs none before."""
        while self._needs_key and self._frames:
            frame = self._frames[0][1]
            if not isinstance(frame, Picture):
                return
            if frame.is_key:
                self._needs_key = False
                return
            self._drop(self._frames.popleft()[1])

    def _drop(self, frame: Frame) -> None:
        self.num_dropped += 1
        self._needs_key = self._needs_key or isinstance(frame, Picture)


def _events_lost() -> EventsLost:
    return EventsLost(
        f"More than {MAX_EVENTS} events of the session were unread, and the newer ones are lost:"
        " read events() beside frames(), or iterate over the session."
    )
