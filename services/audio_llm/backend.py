"""The seam between a live session's edge and whatever holds the conversation."""

import asyncio
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avatar.cast.characters import Character
from avatar.errors import DeadlineExceeded
from avatar.media import AudioChunk, Stamp, TimedCue, TurnEvent, TurnKind, Word
from avatar.transport import Inbound

MAX_WAITING = 512
"""Messages that may wait for a gateway that does not read; more, and the edge is given up."""


class Outbound:
    """Stamps and sends what a conversation tells its gateway, in order, without ever waiting.

    A piece of an answer carries the epoch in which its turn began: once a later one is known here
    the piece is dropped unsent. Everything else carries the epoch known when it is sent.
    """

    def __init__(self, inbound: Inbound, fence: int) -> None:
        self._inbound = inbound
        self._fence = fence
        self._num_sent = 0
        self._waiting: asyncio.Queue[tuple[AudioChunk | TurnEvent, int | None] | None]
        self._waiting = asyncio.Queue(MAX_WAITING)

    @property
    def epoch(self) -> int:
        """The newest epoch known; a turn takes it at its start and keeps it to its end."""
        return self._inbound.epoch

    def tell(
        self,
        kind: TurnKind,
        text: str = "",
        *,
        seconds: float = 0.0,
        words: tuple[Word, ...] = (),
        cues: tuple[TimedCue, ...] = (),
        epoch: int | None = None,
    ) -> None:
        """Send a turn event; `epoch` is the turn's, for reply, end_of_reply and failed.

        Raises:
            DeadlineExceeded: The gateway has not read for long.
        """
        self._put(TurnEvent(self._stamp(), kind, text, max(0.0, seconds), words, cues), epoch)

    def play(self, samples: NDArray[np.float32], sample_rate: int, *, epoch: int) -> None:
        """Send speech of an answer, (S,) at any rate; raises as `tell`."""
        self._put(AudioChunk(self._stamp(), samples, sample_rate), epoch)

    def finish(self) -> None:
        """Nothing more is said: `run` returns when all of it is sent."""
        self._waiting.put_nowait(None)

    async def run(self) -> None:
        """Send what is said, until `finish`.

        Raises:
            ChannelClosed: The gateway has gone.
        """
        while (waiting := await self._waiting.get()) is not None:
            chunk, epoch = waiting
            if epoch is not None and epoch < self.epoch:
                continue
            seq, self._num_sent = self._num_sent, self._num_sent + 1
            stamp = replace(chunk.stamp, epoch=self.epoch if epoch is None else epoch, seq=seq)
            await self._inbound.send(replace(chunk, stamp=stamp))

    def _put(self, chunk: AudioChunk | TurnEvent, epoch: int | None) -> None:
        if self._waiting.qsize() >= MAX_WAITING - 1:  # one place stays free for the end
            raise DeadlineExceeded(f"the gateway has left {MAX_WAITING} messages unread")
        self._waiting.put_nowait((chunk, epoch))

    def _stamp(self) -> Stamp:
        """A stamp whose epoch and seq are filled in when it is sent."""
        return Stamp(self._inbound.request.session, epoch=0, seq=0, fence=self._fence, pts=0)


class LiveBackend(Protocol):
    """Holds live conversations: microphone in, turns and spoken answers out.

    One object serves all sessions of a worker, each in its own call of `converse`.
    """

    async def start(self) -> None:
        """Load or warm what the first caller should not wait for."""
        ...

    async def converse(
        self, inbound: Inbound, out: Outbound, character: Character, answers: bool = True, /
    ) -> None:
        """Talk with one caller until `inbound.receive()` gives None.

        Without `answers` it hears, writes down, and says only texts that it is given.

        `inbound` gives microphone AudioChunks of 512 samples at 16 kHz in real time, and the turn
        events of avatar/media.py that are marked "to audio_llm". It must be read without delay: a
        third unread chunk stops the microphone. `out` takes the events that are marked "from
        audio_llm", under the rules of the live conversation:

        - an answer is, for each sentence, `reply` with its words and cues, then `play` of its
          sound; then `end_of_reply`; or `failed`. All of it has the epoch that `out.epoch` was at
          its start.
        - `interrupt` says what was heard of the answer: making it stops at once, and the history
          keeps exactly that text; nothing heard, and the answer is not in it.
        - between `barge_in` and the `interrupt` that follows it, no answer begins.
        - no error of a turn ends the conversation.

        Raises:
            ChannelClosed: The gateway has gone.
            InvalidInput: A piece does not belong into a live conversation.
            NotOffered: It cannot but answer.
        """
        ...

    async def close(self) -> None:
        """Idempotent; sessions are over before."""
        ...
