"""The gateway's part of a live conversation, on one edge of audio_llm and in media time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import character_of
from avatar.media import AudioChunk, SessionId, Stamp, TurnEvent, TurnKind
from avatar.speech.turns import WINDOW_S
from avatar.speech.vad import WINDOW, VadState
from avatar.transport import Channel, Inbound, OpenRequest
from avatar.transport.memory import MemoryTransport
from services.audio_llm.backend import LiveBackend, Outbound
from services.worker import task_group

P = ParamSpec("P")
R = TypeVar("R")
SETTLING = 60
"""Rounds of the event loop in which all that needs no waiting is done."""
FAINT = 1e-5
"""What a sound carries, in its first samples, is too faint to be heard."""


class InlineExecutor(Executor):
    """Works at once, in the thread that asks."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  it goes to who asks, as in a thread
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Utterance:
    """Words that take `seconds`, or a noise where `text` is empty."""

    text: str
    seconds: float
    level: float = 0.1
    probability: float = 0.95


@dataclass
class Script:
    """Ears for which sound carries its own words: a detector and a recogniser in one."""

    label: str = "scripted ears"
    utterances: list[Utterance] = field(default_factory=list)
    num_heard: int = 0
    trouble: Exception | None = None

    def sound(self, utterance: Utterance) -> NDArray[np.float32]:
        """As (N, 512) samples."""
        self.utterances.append(utterance)
        windows = np.full((round(utterance.seconds / WINDOW_S), WINDOW), utterance.level)
        windows[:, :3] = utterance.probability, len(self.utterances), len(windows)
        windows[:, :3] *= FAINT
        return windows.astype(np.float32)

    def trimmed(self, samples: NDArray[np.float32], /) -> NDArray[np.float32]:
        return samples

    def init_state(self) -> VadState:
        empty = np.zeros(0, np.float32)
        return VadState(empty, empty, empty)

    def step(self, window: NDArray[np.float32], state: VadState, /) -> tuple[float, VadState]:
        return float(window[0]) / FAINT, state

    def transcribe(self, samples: NDArray[np.float32], /, hint: str = "") -> str:
        """So many of each utterance's words as there is of its sound."""
        self.num_heard += 1
        if self.trouble is not None:
            raise self.trouble
        words: list[str] = []
        numbers, sizes = np.rint(samples.reshape(-1, WINDOW)[:, 1:3].T / FAINT).astype(int)
        for number in dict.fromkeys(numbers[numbers > 0].tolist()):
            of_it = sizes[numbers == number]
            spoken = self.utterances[number - 1].text.split()
            words += spoken[: round(len(spoken) * len(of_it) / of_it[0])]
        return " ".join(words)

    def close(self) -> None:
        pass


class Caller:
    """Speaks, listens and interrupts; one window of 32 ms is the unit of all time.

    It plays answers as a gateway does: from the first sound on, and its `playback_finished` says
    that all was heard. `barge_in` is answered with `interrupt` after `reaction` windows.
    """

    def __init__(
        self,
        channel: Channel,
        session: SessionId,
        settle: Callable[[], Awaitable[None]],
        reaction: int = 0,
    ) -> None:
        self.events: list[TurnEvent | AudioChunk] = []
        self.epoch = 0
        self.heard_of_answers: list[str] = []
        self.num_interrupts = 0
        self.plays = True
        self.is_answering = False
        """An answer is expected or sounds: `interrupt` comes before the next prompt."""
        self.order: list[str] = []
        """Kinds of what was said and heard, as they happened; ">" before what the gateway says."""
        self._channel, self._session, self._settle = channel, session, settle
        self._reaction = reaction
        self._seq = 0
        self._news = asyncio.Event()
        self._due = -1  # windows until `interrupt` is sent
        self._words: list[tuple[str, float]] = []  # of this answer, and when each has been heard
        self._told_s = 0.0
        self._is_complete = False
        self._position_s: float | None = None

    @property
    def is_playing(self) -> bool:
        return self._position_s is not None

    @property
    def heard(self) -> str:
        """The words of this answer that have sounded."""
        position_s = self._position_s or 0.0
        return " ".join(word for word, end_s in self._words if end_s <= position_s)

    def kinds(self) -> list[str]:
        return [e.kind if isinstance(e, TurnEvent) else "sound" for e in self.events]

    def told(self, kind: TurnKind) -> list[TurnEvent]:
        return [e for e in self.events if isinstance(e, TurnEvent) and e.kind == kind]

    def texts(self, kind: TurnKind) -> list[str]:
        return [event.text for event in self.told(kind)]

    def has_heard_out(self) -> bool:
        """Whether an answer was played to its end."""
        return ">playback_finished" in self.order

    async def heard_kind(self, kind: str) -> None:
        """Wait, without media going on, until audio_llm has said something of that kind."""
        while kind not in self.kinds():
            self._news.clear()
            await self._news.wait()

    async def hear(self) -> None:
        """Take in what audio_llm says, to the end of the edge."""
        while (piece := await self._channel.receive()) is not None:
            assert isinstance(piece, TurnEvent | AudioChunk)
            self.events.append(piece)
            self.order.append(piece.kind if isinstance(piece, TurnEvent) else "sound")
            self._take(piece)
            self._news.set()

    async def say(self, kind: TurnKind, text: str = "") -> None:
        self.order.append(f">{kind}")
        self.is_answering |= kind in ("prompt", "text")
        await self._channel.send(TurnEvent(self._stamp(), kind, text))
        await self._settle()

    async def interrupt(self) -> str:
        """Stop the answer; returns what was heard of it."""
        heard = self.heard
        self.epoch += 1
        self.num_interrupts += 1
        self.heard_of_answers.append(heard)
        self._stop()
        await self.say("interrupt", heard)
        return heard

    async def speak(self, windows: NDArray[np.float32]) -> None:
        """Send (N, 512) samples, and play what there is to be played meanwhile."""
        for window in windows:
            await self._channel.send(AudioChunk(self._stamp(), window))
            await self._settle()
            await self._play()

    async def be_silent(self, seconds: float) -> None:
        await self.speak(np.zeros((round(seconds / WINDOW_S), WINDOW), np.float32))

    async def until(self, is_so: Callable[["Caller"], bool], within_s: float = 30.0) -> None:
        """Be silent until something is so; `within_s` of media time."""
        for _ in range(round(within_s / WINDOW_S)):
            if is_so(self):
                return
            await self.be_silent(WINDOW_S)
        raise AssertionError(f"not so within {within_s:g} s; last: {self.kinds()[-12:]}")

    async def end(self) -> None:
        await self._channel.finish()

    def _take(self, piece: TurnEvent | AudioChunk) -> None:
        if isinstance(piece, TurnEvent) and piece.kind == "barge_in":
            self._due = self._reaction
        if piece.stamp.epoch < self.epoch:
            return
        match piece:
            case TurnEvent(kind="speech_stopped"):
                self.is_answering = True
            case TurnEvent(kind="speech_ignored" | "failed") if not self._told_s:
                self.is_answering = False
            case AudioChunk(samples=samples, sample_rate=rate):
                self._told_s += len(samples) / rate
            case TurnEvent(kind="reply", words=words):
                self.is_answering = True
                self._words += [(word.text, self._told_s + word.end_s) for word in words]
            case TurnEvent(kind="end_of_reply" | "failed"):
                self._is_complete = True
            case _:
                pass

    async def _play(self) -> None:
        if self._due == 0:
            await self.interrupt()
        self._due -= self._due > 0
        if not self.plays or self._due >= 0:
            return
        if self._position_s is None and self._told_s:
            self._position_s = 0.0
            await self.say("playback_started")
        elif self._position_s is not None:
            self._position_s += WINDOW_S
            if self._is_complete and self._position_s >= self._told_s:
                self.heard_of_answers.append(" ".join(word for word, _ in self._words))
                self._stop()
                await self.say("playback_finished")

    def _stop(self) -> None:
        self._words, self._told_s, self._is_complete = [], 0.0, False
        self._position_s, self._due, self.is_answering = None, -1, False

    def _stamp(self) -> Stamp:
        seq, self._seq = self._seq, self._seq + 1
        return Stamp(self._session, self.epoch, seq, fence=1, pts=0)


async def settled() -> None:
    """Let everything happen that needs no waiting."""
    for _ in range(SETTLING):
        await asyncio.sleep(0)


@asynccontextmanager
async def calls(
    backend: LiveBackend,
    avatars: Sequence[str] = ("mira",),
    *,
    settle: Callable[[], Awaitable[None]] = settled,
    reaction: int = 0,
    answers: bool = True,
) -> AsyncIterator[list[Caller]]:
    """One caller for each name of an avatar, all on one back end."""

    async def serve(inbound: Inbound) -> None:
        out = Outbound(inbound, fence=1)
        async with task_group() as tasks:
            tasks.create_task(out.run())
            await backend.converse(inbound, out, character_of(inbound.request.avatar), answers)
            out.finish()

    transport = MemoryTransport()
    address = await transport.listen(serve)
    callers, hearing = [], list[asyncio.Task[Any]]()
    for number, avatar in enumerate(avatars):
        session = SessionId(f"s{number}")
        request = OpenRequest(session, 1, avatar, seed=0, options={"mode": "live"})
        caller = Caller(await transport.connect(address, request), session, settle, reaction)
        callers.append(caller)
        hearing.append(asyncio.create_task(caller.hear()))
    try:
        yield callers
        for caller in callers:
            await caller.end()
        await asyncio.gather(*hearing)
    finally:
        for task in hearing:
            task.cancel()
        await transport.close()
