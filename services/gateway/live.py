"""A live session: paces the graph in real time, plays what comes out to whoever is connected."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avatar.audio.resample import StreamResampler
from avatar.cast.avatars import character_of
from avatar.cast.characters import Character
from avatar.errors import AvatarError
from avatar.media import (
    SPEECH_RATE,
    AudioChunk,
    Behaviour,
    CueName,
    SessionId,
    Stamp,
    TurnEvent,
)
from avatar.telemetry import metrics
from avatar.telemetry.logging import get_logger
from avatar.timebase import TICKS_PER_SECOND, ticks_of_samples
from services.gateway.answer import Heard
from services.gateway.coordinator import Session
from services.gateway.dialogue import Dialogue, Fields, Order
from services.gateway.echo import EchoGate
from services.gateway.events import CallState, ClientEvent, Swap
from services.gateway.ladder import PROBE_S, Ladder
from services.gateway.live_timeline import LaidChunk
from services.gateway.media import (
    BLOCK_S,
    BLOCK_SAMPLES,
    BLOCK_TICKS,
    PLAYED_RATE,
    Block,
    Peer,
    Picture,
)
from services.gateway.own_reply import ReplyPiece
from services.gateway.pace import MARGIN_S, Pace
from services.gateway.playout import PlayChunk
from services.settings import AppConfig
from services.worker import task_group

log = get_logger(__name__)

MIC_SAMPLES = 512
"""What audio_llm's voice detection judges at once: 32 ms at 16 kHz."""
MAX_MIC_PIECES = 64
"""Waiting to be sent; beyond that the caller's sound is dropped, oldest first: two seconds."""
LATE_S = 0.2
"""When the gateway's own loop is later than this, the call's clock jumps instead of hurrying."""
SHORT_SPEECH_WAIT_S = 0.15
"""How long a first piece of speech, shorter than a chunk and what lies ahead of it, waits."""
QUALITY_INTERVAL_S = 2.0


@dataclass(frozen=True)
class _Sent:
    """A chunk on its way through the graph."""

    epoch: int
    laid: LaidChunk
    at: float
    is_played: bool = False  # with a still picture, without waiting for it
    is_probe: bool = False
    is_light: bool = False


@dataclass(frozen=True)
class _ToSend:
    """A chunk for the graph."""

    epoch: int
    laid: LaidChunk
    behaviour: Behaviour
    cues: tuple[CueName, ...]


class LiveSession:
    """One call, from its first chunk to its end, whatever connections come and go meanwhile.

    While nobody is connected the media stand still; the conversation and the face stay.
    """

    def __init__(
        self, session: Session, config: AppConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.id: SessionId = session.id
        self.ended = ""
        self._session = session
        self._config = config
        self._clock = clock
        self._character = character_of(session.avatar, config.avatars_dir)
        self._dialogue = Dialogue(
            config.clock,
            self._character,
            self._order,
            self._tell,
            config.limits.reply_s,
            caller_answers=session.answers == "client",
        )
        self._pace = Pace(config.clock)
        # calls that stepped down together do not probe, and come back, together
        probe_s = PROBE_S * random.Random(session.id).uniform(1.0, 1.5)
        self._ladder = Ladder(
            config.clock.chunk_s,
            self._pace.longest_s - MARGIN_S,
            probe_s,
            has_light=bool(config.model.policy.light_sigmas),
        )
        self._probe: _ToSend | None = None
        self._returned_at = 0.0  # when the graph last gave something
        self._peer: Peer | None = None
        self._at = 0  # the call's clock, in ticks
        self._orders: asyncio.Queue[Order | NDArray[np.float32]] = asyncio.Queue()
        self._num_mic_waiting = 0
        self._mic = np.zeros(0, np.float32)
        self._echo = EchoGate()
        self._to_speech_rate = StreamResampler(PLAYED_RATE, SPEECH_RATE)
        self._on_the_way: dict[int, _Sent] = {}
        self._next_seq = 0
        self._has_swapped = False  # and no picture has come since
        self._waiting_since: float | None = None  # speech that no chunk has yet
        self._attached = asyncio.Event()
        self._news = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def state(self) -> CallState:
        return self._dialogue.state

    @property
    def is_attached(self) -> bool:
        return self._peer is not None

    def describe(self) -> Fields:
        """For people and programs who ask how the call is."""
        return {
            "id": self.id,
            "avatar": self._character.id,
            "state": self.state,
            "connected": self.is_attached,
            "rung": self._ladder.rung,
            "turns": self._dialogue.num_turns,
            "epoch": self._dialogue.epoch,
            "media_s": round(self._at / TICKS_PER_SECOND, 2),
            "models": list(self._dialogue.models),
            "answers": self._session.answers,
        }

    async def run(self) -> None:
        """Live until `end`, or until something fails.

        Raises:
            AvatarError: A stage failed, or a chunk was not done in its time.
        """
        try:
            async with task_group() as tasks:
                running = [
                    tasks.create_task(work())
                    for work in (self._play, self._make, self._collect, self._listen, self._speak)
                ]
                await self._over.wait()
                for task in running:
                    task.cancel()
        finally:
            self.end("server_error")  # unless it was ended before

    def end(self, reason: str) -> None:
        """Idempotent; the first reason counts."""
        if not self.ended:
            self.ended = reason
            self._tell("avatar.ended", {"reason": reason})
        self._over.set()

    def attach(self, peer: Peer) -> Peer | None:
        """Play to this connection from now on; returns the one that it replaces."""
        replaced, self._peer = self._peer, peer
        self._tell("session.created", self._dialogue.greeting())
        self._tell("avatar.state", {"state": self.state})
        if self._ladder.rung != "full":
            self._tell_rung()
        self._dialogue.resume()
        self._attached.set()
        self._news.set()
        return replaced

    def detach(self, peer: Peer) -> None:
        """This connection is gone; media stand still until another one comes."""
        if self._peer is peer:
            self._peer = None
            self._attached.clear()

    def hear(self, samples: NDArray[np.float32]) -> None:
        """The caller's sound, (S,) at 16 kHz, any S; returns at once."""
        self._mic = np.concatenate([self._mic, self._echo.hear(samples)])
        while self._mic.size >= MIC_SAMPLES:
            piece, self._mic = self._mic[:MIC_SAMPLES], self._mic[MIC_SAMPLES:]
            if self._num_mic_waiting < MAX_MIC_PIECES:
                self._num_mic_waiting += 1
                self._orders.put_nowait(piece)

    def handle(self, event: ClientEvent) -> None:
        """What the caller does, besides speaking.

        Raises:
            NotFound: There is no avatar to swap to.
        """
        if isinstance(event, Swap):
            self._become(character_of(event.avatar, self._config.avatars_dir))
        else:
            self._dialogue.handle(event, self._clock())
        self._news.set()

    def interrupt(self) -> Heard | None:
        """Silence from the next 20 ms on; what was heard, None where nothing was being said."""
        heard = self._dialogue.interrupt(self._clock())
        self._news.set()
        return heard

    def reply(self, piece: ReplyPiece) -> None:
        """A piece of the caller's own reply; returns at once.

        Raises:
            TooLarge: It is longer than an answer may be.
        """
        try:
            self._dialogue.reply(piece, self._clock())
        finally:
            self._news.set()

    @property
    def backlog_s(self) -> float:
        """Speech that no chunk has yet, in seconds."""
        return self._dialogue.timeline.num_waiting / PLAYED_RATE

    def _become(self, character: Character) -> None:
        if character.id != self._character.id:
            self._character = character
            self._dialogue.become(character, self._clock())

    # To audio_llm, and from it

    def _order(self, order: Order) -> None:
        self._orders.put_nowait(order)

    async def _speak(self) -> None:
        """Pass on what audio_llm should hear and do, in order."""
        seq = 0
        while not self.ended:
            order = await self._orders.get()
            if isinstance(order, Order):
                stamp = Stamp(self.id, order.epoch, seq, self._session.fence, self._at)
                await self._session.tell(TurnEvent(stamp, order.kind, order.text))
            else:
                self._num_mic_waiting -= 1
                stamp = Stamp(self.id, self._dialogue.epoch, seq, self._session.fence, self._at)
                await self._session.tell(AudioChunk(stamp, order))
            seq += 1

    async def _listen(self) -> None:
        while not self.ended:
            piece = await self._session.hear()
            if piece is None:
                raise AvatarError("audio_llm ended before the call did")
            if isinstance(piece, AudioChunk | TurnEvent):
                self._dialogue.hear(piece, self._clock())
                self._news.set()

    # Through the graph

    async def _make(self) -> None:
        """Send one chunk after the other into the graph, each as late as it may be."""
        while not self.ended:
            await self._attached.wait()
            self._news.clear()
            if not self._is_due():
                await self._news.wait()
                continue
            if self._session.epoch < self._dialogue.epoch:
                self._on_the_way.clear()
                await self._session.raise_epoch(self._dialogue.epoch)
                continue  # it may have risen again meanwhile
            if self._session.avatar != self._character.id:
                await self._swap()
                continue
            await self._send_chunk()

    async def _swap(self) -> None:
        """Between two chunks; those on their way are of the avatar before."""
        while self._session.avatar != self._character.id:  # another wish may come meanwhile
            await self._session.swap(self._character.id)
            self._has_swapped = True
        if self._ladder.rung == "still":  # of somebody else
            self._step(self._ladder.up(self._clock(), "another avatar"))
        self._tell("avatar.swapped", {"avatar": self._character.id})

    def _is_due(self) -> bool:
        dialogue, now = self._dialogue, self._clock()
        if self._session.epoch < dialogue.epoch or self._session.avatar != self._character.id:
            return True
        if self._ladder.rung == "still":
            return self._probe is not None
        if len(self._on_the_way) >= self._pace.max_on_the_way:
            return False
        if self._may_begin_reply(now) and dialogue.playout.is_silent:
            return True
        chunk = self._config.clock.samples_per_chunk(PLAYED_RATE)
        ahead = dialogue.playout.buffered + chunk * len(self._on_the_way)
        return ahead <= self._pace.lead_s * PLAYED_RATE

    def _may_begin_reply(self, now: float) -> bool:
        """Whether there is the beginning of an answer, and enough of it."""
        timeline = self._dialogue.timeline
        if not timeline.is_waiting or timeline.has_begun:
            self._waiting_since = None
            return False
        self._waiting_since = self._waiting_since or now
        waited_s = now - self._waiting_since
        return (
            timeline.is_ample
            or self._dialogue.is_first_sentence_whole
            or (waited_s > SHORT_SPEECH_WAIT_S)
        )

    async def _send_chunk(self) -> None:
        is_probe = self._ladder.rung == "still"
        is_light = self._ladder.has_light and self._ladder.rung != "full"
        now = self._clock()
        chunk, self._probe = self._probe or self._lay(now), None
        if chunk.epoch < self._dialogue.epoch:  # a probe that an interruption overtook
            return
        seq = self._next_seq
        self._next_seq += 1
        pts = self._config.clock.pts(seq)
        left_s = None if is_probe else self._left_s()  # nobody waits for a probe
        stamp = Stamp(self.id, chunk.epoch, seq, self._session.fence, pts, left_s, is_light)
        self._on_the_way[seq] = _Sent(chunk.epoch, chunk.laid, now, is_probe, is_probe, is_light)
        await self._session.send(
            AudioChunk(
                stamp,
                chunk.laid.speech,
                lookahead=chunk.laid.lookahead,
                behaviour=chunk.behaviour,
                cues=chunk.cues,
            )
        )

    def _left_s(self) -> float:
        """Until the next chunk to be sent is waited for."""
        on_the_way_s = self._config.clock.chunk_s * len(self._on_the_way)
        return self._dialogue.playout.buffered / PLAYED_RATE + on_the_way_s

    def _lay(self, now: float) -> _ToSend:
        laid = self._dialogue.timeline.next_chunk()
        return _ToSend(self._dialogue.epoch, laid, *self._dialogue.laid(laid, now))

    async def _collect(self) -> None:
        while not self.ended:
            chunk = await self._session.next_frames()
            if chunk is None:
                raise AvatarError("the graph ended before the call did")
            sent = self._on_the_way.pop(chunk.stamp.seq, None)
            dialogue, now = self._dialogue, self._clock()
            returned_before, self._returned_at = self._returned_at, now
            if sent is None or sent.epoch < dialogue.epoch:
                continue  # made for what was interrupted
            if self.is_attached and sent.is_probe:
                self._step(self._ladder.probed(now, now - sent.at))
            elif self.is_attached and not sent.is_played:
                self._pace.took(now - sent.at, is_late=dialogue.playout.is_standing)
                busy_s = now - max(sent.at, returned_before)
                if self._is_of_rung(sent):
                    self._step(self._ladder.made(now, now - sent.at, busy_s))
            if not sent.is_played:
                played = _play_chunk(sent.epoch, sent.laid, chunk.frames)
                dialogue.arrived(replace(played, is_other_face=self._has_swapped), sent.laid, now)
                self._has_swapped = False
            self._news.set()

    # Under overload

    def _is_of_rung(self, sent: _Sent) -> bool:
        """Whether what it takes says how the present rung is: else it is of the one before."""
        return sent.is_light == (self._ladder.rung == "light")

    def _watch(self, now: float, is_standing: bool) -> None:
        """See whether the call has to step down; `is_standing` in the last 20 ms."""
        is_swapping = self._has_swapped or self._session.avatar != self._character.id
        oldest = next(iter(self._on_the_way.values()), None)
        busy_s = 0.0
        if oldest is not None and self._is_of_rung(oldest):
            busy_s = now - max(oldest.at, self._returned_at)
        self._step(self._ladder.played(now, BLOCK_S, is_standing and not is_swapping, busy_s))

    def _step(self, ladder: Ladder) -> None:
        """Go on with this state of the ladder; a new rung begins at once."""
        before, self._ladder = self._ladder, ladder
        if ladder.rung == before.rung:
            return
        metrics.ladder_steps_total.labels(ladder.rung).inc()
        self._tell_rung()
        now = self._clock()
        self._probe = None
        if ladder.rung != "full" and before.rung != "still":
            for seq, sent in self._on_the_way.items():  # they have waited for long enough
                if sent.epoch == self._dialogue.epoch:
                    self._on_the_way[seq] = replace(sent, is_played=True)
                    still = _play_chunk(sent.epoch, sent.laid, None)
                    self._dialogue.arrived(still, sent.laid, now)
        if ladder.rung == "light":
            while self._dialogue.playout.buffered < (ladder.took_s + MARGIN_S) * PLAYED_RATE:
                self._play_still(now)  # until the first pictures can be there
        self._news.set()

    def _tell_rung(self) -> None:
        rung, reason = self._ladder.rung, self._ladder.reason
        self._tell("avatar.ladder", {"rung": rung, "reason": reason})

    def _keep_sounding(self, now: float) -> None:
        """Without pictures a chunk is laid when the one before ends, or an answer begins."""
        playout = self._dialogue.playout
        begins = playout.is_silent and self._may_begin_reply(now)
        if playout.buffered >= BLOCK_SAMPLES and not begins:
            return
        chunk = self._play_still(now)
        if not self._on_the_way and self._ladder.is_probe_due(now):
            self._ladder = self._ladder.probing(now)
            self._probe = chunk

    def _play_still(self, now: float) -> _ToSend:
        chunk = self._lay(now)
        self._dialogue.arrived(_play_chunk(chunk.epoch, chunk.laid, None), chunk.laid, now)
        return chunk

    # To the caller

    async def _play(self) -> None:
        """Play 20 ms every 20 ms, as long as somebody is connected."""
        while not self.ended:
            await self._attached.wait()
            due = reported = self._clock()
            while self._peer is not None and not self.ended:
                now = self._clock()
                if now - due > LATE_S:  # we stood still: sound and picture jump alike
                    self._at += ticks_of_samples(
                        round((now - due) / BLOCK_S) * (PLAYED_RATE // 50), PLAYED_RATE
                    )
                    due = now
                self._peer.play(self._next_block(now))
                self._news.set()
                if now - reported >= QUALITY_INTERVAL_S:
                    self._tell("avatar.quality", self._report(now - reported))
                    reported = now
                due += BLOCK_S
                await asyncio.sleep(max(0.0, due - self._clock()))

    def _next_block(self, now: float) -> Block:
        at = self._at
        self._at += BLOCK_TICKS
        if self._ladder.rung == "still":
            self._keep_sounding(now)
        played = self._dialogue.advance(now)
        heard = played.sound.astype(np.float32) / np.float32(32768)
        self._echo.play(self._to_speech_rate.push(heard))
        self._watch(now, played.stalled)
        pictures = tuple(
            Picture(at + ticks_of_samples(offset, PLAYED_RATE), pixels)
            for offset, pixels in played.pictures
        )
        if self._ladder.rung == "light":
            pictures = tuple(each for each in pictures if self._is_even(each))
        num_pictures = 0 if played.is_still else len(pictures)
        if self._pace.played(num_pictures, played.stalled):
            metrics.stalls_total.inc()
        return Block(at, played.sound, pictures)

    def _is_even(self, picture: Picture) -> bool:
        """Whether it is one of every second."""
        return picture.at * self._config.clock.fps // TICKS_PER_SECOND % 2 == 0

    def _report(self, seconds: float) -> Fields:
        report = self._pace.report(seconds)
        return report if self._ladder.rung == "full" else {**report, "reason": "server late"}

    def _tell(self, type: str, fields: Fields) -> None:
        if self._peer is not None:
            t_ms = round(1000 * self._at / TICKS_PER_SECOND)
            about: dict[str, object] = {
                "type": type,
                "event_id": uuid.uuid4().hex,
                "session_id": self.id,
            }
            self._peer.tell({**about, "t_ms": t_ms, **fields})


def _play_chunk(epoch: int, laid: LaidChunk, frames: NDArray[np.uint8] | None) -> PlayChunk:
    return PlayChunk(
        epoch=epoch,
        frames=frames,
        sound=laid.sound,
        position=laid.position,
        num_spoken=laid.num_spoken,
        ends_reply=laid.ends_reply,
        cuts_in=laid.starts_reply,
    )
