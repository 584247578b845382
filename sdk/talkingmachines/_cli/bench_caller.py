"""One caller of `bench`: asks, listens, interrupts, and notes how long all took."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from talkingmachines import _live_events as live
from talkingmachines._errors import TalkError

TEXT: Final = "One, two, three, four, five, six, seven, eight, nine, ten."
QUESTION: Final = "Who are you?"
ANSWER_S: Final = 30.0
SPEECH_S: Final = 90.0
HEARD_S: Final = 0.5
"""So long an answer that is interrupted is listened to."""
PAUSE_S: Final = 0.5
LOOP_S: Final = 0.05


@dataclass
class Noted:
    """What became of one caller; seconds.

    `refused`: reason of who got no session. `lost`: why it ended before its time.
    `say_s`, `ask_s`: from a text to the first sound of what comes of it. `stop_s`: from an
    interruption to the word that it is silent. Gaps: longest wait for the next sound and picture.
    """

    refused: str = ""
    lost: str = ""
    unanswered: int = 0
    open_s: list[float] = field(default_factory=list)
    say_s: list[float] = field(default_factory=list)
    ask_s: list[float] = field(default_factory=list)
    stop_s: list[float] = field(default_factory=list)
    sound_gap_s: list[float] = field(default_factory=list)
    picture_gap_s: list[float] = field(default_factory=list)


class Session(Protocol):
    """What a caller needs of a session; AsyncSession is one."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def say(self, text: str) -> None: ...
    async def ask(self, text: str) -> None: ...
    async def interrupt(self) -> live.Heard | None: ...
    def __aiter__(self) -> AsyncIterator[live.LiveStep]: ...


class Caller:
    """Says, asks and interrupts in turn, until its time is over."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._noted = Noted()
        self._news: asyncio.Queue[live.LiveEvent] = asyncio.Queue()

    async def call(self, seconds: float) -> Noted:
        began = time.monotonic()
        try:
            await self._session.open()
        except TalkError as error:
            self._noted.refused = error.reason
            return self._noted
        self._noted.open_s.append(time.monotonic() - began)
        try:
            await self._converse(self._session, time.monotonic() + seconds)
        except TalkError as error:
            self._noted.lost = error.reason
        finally:
            await self._session.close()
        return self._noted

    async def _converse(self, session: Session, until: float) -> None:
        reading = asyncio.create_task(self._read(session))
        try:
            for number in itertools.count():
                if time.monotonic() >= until or reading.done():
                    break
                await self._turn(session, number)
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _turn(self, session: Session, number: int) -> None:
        """A text is said or a question answered; every third one is interrupted."""
        is_question = number % 2 == 1
        began = time.monotonic()
        await (session.ask(QUESTION) if is_question else session.say(TEXT))
        if not await self._await(live.PlaybackStarted, ANSWER_S):
            self._noted.unanswered += 1
            return
        times = self._noted.ask_s if is_question else self._noted.say_s
        times.append(time.monotonic() - began)
        if number % 3 == 2:
            await asyncio.sleep(HEARD_S)
            asked = time.monotonic()
            if await session.interrupt() is not None:
                self._noted.stop_s.append(time.monotonic() - asked)
        await self._await(live.PlaybackFinished, SPEECH_S)
        await asyncio.sleep(PAUSE_S)

    async def _await(self, kind: type[live.LiveEvent], limit_s: float) -> bool:
        """Whether it comes in time; nothing does after the end."""
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    event = await self._news.get()
                    if isinstance(event, kind):
                        return True
                    if isinstance(event, live.Ended):
                        return False
        except TimeoutError:
            return False

    async def _read(self, session: Session) -> None:
        last: dict[type[object], float] = {}
        longest: dict[type[object], float] = {live.Sound: 0.0, live.Picture: 0.0}
        try:
            async for step in session:
                now = time.monotonic()
                if isinstance(step, live.LiveEvent):
                    self._news.put_nowait(step)
                    if isinstance(step, live.Ended):
                        self._noted.lost = step.reason
                    continue
                kind = type(step)
                longest[kind] = max(longest[kind], now - last.get(kind, now))
                last[kind] = now
        finally:
            self._news.put_nowait(live.Ended(""))
            if live.Sound in last:
                self._noted.sound_gap_s.append(longest[live.Sound])
            if live.Picture in last:
                self._noted.picture_gap_s.append(longest[live.Picture])


async def own_lateness() -> list[float]:
    """How much later than asked for this program itself is woken; until it is cancelled."""
    late: list[float] = []
    try:
        while True:
            due = time.monotonic() + LOOP_S
            await asyncio.sleep(LOOP_S)
            late.append(time.monotonic() - due)
    except asyncio.CancelledError:
        return late
