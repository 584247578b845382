"""One call: a live session, the connections that come and go in it, and what a caller may do."""

import math
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from avatar.errors import AvatarError, InvalidInput, TooLarge, TooManyAttempts
from avatar.media import SPEECH_RATE, SessionId
from avatar.telemetry.logging import get_logger
from services.gateway.allowance import Allowance
from services.gateway.answer import Heard
from services.gateway.audience import Audience
from services.gateway.events import (
    CallState,
    ClientEvent,
    ClientHeartbeat,
    CreateItem,
    Say,
    Swap,
    parse,
)
from services.gateway.media import Peer
from services.gateway.outward import outward
from services.gateway.own_reply import ReplyPiece
from services.gateway.tokens import TokenHash
from services.settings import Limits

log = get_logger(__name__)

BURST_S: Final = 2.0
"""Events of so many seconds may come at once; of texts, ten seconds' worth."""
TEXT_BURST_S: Final = 10.0
MIC_SPEED: Final = 1.25
"""A microphone may be so much faster than time: two clocks never agree."""
MIC_BURST_S: Final = 5.0
"""Sound that waited somewhere on its way comes at once."""
MIC_FLOOD_S: Final = 10.0
STUCK_S: Final = 5.0


class Live(Protocol):
    """What a call needs of its session; `LiveSession` is one."""

    @property
    def id(self) -> SessionId: ...
    @property
    def state(self) -> CallState: ...
    @property
    def ended(self) -> str: ...
    async def run(self) -> None: ...
    def attach(self, peer: Peer) -> Peer | None: ...
    def detach(self, peer: Peer) -> None: ...
    def hear(self, samples: NDArray[np.float32]) -> None: ...
    def handle(self, event: ClientEvent) -> None: ...
    def interrupt(self) -> Heard | None: ...
    def reply(self, piece: ReplyPiece) -> None: ...
    @property
    def backlog_s(self) -> float: ...
    def end(self, reason: str) -> None: ...
    def describe(self) -> Mapping[str, object]: ...


class CallPeer(Peer, Protocol):
    """A caller's connection, as its call sees it; a `WebRtcPeer` is one."""

    @property
    def stats(self) -> dict[str, int]: ...

    async def leave(self, patience_s: float, /) -> None:
        """Close once the other side has read what it was told, or `patience_s` has passed."""
        ...


class Call:
    """Stands between a session and its connections; only the newest connection counts.

    Timed decisions are made in `check`, which is called several times a second.
    """

    def __init__(
        self,
        live: Live,
        token: TokenHash,
        limits: Limits,
        let_go: Callable[[CallPeer], None],
        clock: Callable[[], float],
        audience: Audience,
        key: str = "",
        left_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """`let_go` closes a connection in its own time; `key` names on whose account it is, which
        has time for it for `left_s`.
        """
        self.live = live
        self.token = token
        self.was_connected = False
        self.audience = audience
        self.key = key
        self._limits = limits
        self._let_go = let_go
        self._clock = clock
        self._left_s = left_s
        self._peer: CallPeer | None = None
        self._pending: CallPeer | None = None
        now = clock()
        self._opened_at = self._active_at = self._alone_since = self._pending_since = now
        self._heartbeat_at: float | None = None
        self._ended_at: float | None = None
        self._warned: set[str] = set()
        self._attempts = Allowance(limits.connects_per_minute / 60, 60, clock)
        self._events = Allowance(limits.events_per_s, BURST_S, clock)
        self._texts = Allowance(limits.texts_per_s, TEXT_BURST_S, clock)
        self._mic = Allowance(MIC_SPEED * SPEECH_RATE, MIC_BURST_S, clock)
        self._mic_dropped = 0
        audience.on_change = self._tell_audience

    @property
    def id(self) -> SessionId:
        return self.live.id

    @property
    def is_over(self) -> bool:
        return bool(self.live.ended)

    @property
    def is_connected(self) -> bool:
        return self._peer is not None

    @property
    def is_stuck(self) -> bool:
        """Whether it was ended long ago and still runs."""
        return self._ended_at is not None and self._clock() - self._ended_at > STUCK_S

    def describe(self) -> dict[str, object]:
        connection = self._peer.stats if self._peer is not None else None
        return {
            **self.live.describe(),
            "connection": connection,
            "viewers": self.audience.describe(),
        }

    def summary(self) -> dict[str, object]:
        """What operators see of it: no word of what is said, and nothing to join it with."""
        about = self.live.describe()
        return {
            "id": self.id,
            "key": self.key,
            "avatar": about["avatar"],
            "state": about["state"],
            "age_s": round(self._clock() - self._opened_at, 1),
            "is_connected": self.is_connected,
            "viewers": self.audience.num_watching,
        }

    # What the caller asks for over HTTP

    @property
    def longest_s(self) -> float:
        """How long the call may be, in all."""
        return self._limits.session_s

    def attempt(self) -> None:
        """Count an offer.

        Raises:
            TooManyAttempts: There were too many.
        """
        if not self._attempts.take():
            raise TooManyAttempts(
                f"this call was offered more than {self._limits.connects_per_minute} connections "
                "a minute; wait before the next one",
                60 / self._limits.connects_per_minute,
            )

    def expect(self, peer: CallPeer) -> None:
        """This connection was answered; it replaces the present one once it stands."""
        replaced, self._pending = self._pending, peer
        self._pending_since = self._clock()
        if replaced is not None:
            self._let_go(replaced)

    def hang_up(self) -> bool:
        """End the connection, not the session; False where there is none."""
        peer = self._peer or self._pending
        if peer is None:
            return False
        peer.tell({"type": "avatar.ended", "reason": "hung_up"})
        self._part(peer)
        return True

    def end(self, reason: str) -> None:
        """Idempotent; the first reason counts."""
        if self._ended_at is None:
            self._ended_at = self._clock()
        self.live.end(reason)

    def leave(self) -> None:
        """The session is over and its caller knows: let all connections go."""
        for peer in (self._peer, self._pending):
            if peer is not None:
                self._let_go(peer)
        self._peer = self._pending = None
        self.audience.dismiss()

    def interrupt(self) -> Heard | None:
        """Silence; what was heard, None where nothing was being said.

        Raises:
            TooManyAttempts: It was asked for too often.
        """
        if not self._events.take():
            raise TooManyAttempts(
                "this session was interrupted too often of late; wait a second", 1.0
            )
        return self.silenced()

    def swap(self, avatar: str) -> None:
        """Have another avatar go on.

        Raises:
            InvalidInput: That is no name.
            NotFound: There is none of that name.
            TooManyAttempts: It was asked for too often.
        """
        if not self._events.take():
            raise TooManyAttempts("this session's avatar was swapped too often; wait a second", 1.0)
        self._take(Swap.to(avatar))

    # What connections tell

    def connected(self, peer: CallPeer) -> None:
        if peer is not self._pending or self.is_over:
            self._let_go(peer)
            return
        self.was_connected = True
        replaced, self._peer = self._peer, peer
        self._pending = self._heartbeat_at = None
        self._warned.clear()
        self.live.attach(peer)
        if self.audience.num_watching:
            self._tell_audience()
        log.info("caller_connected", session=self.id)
        if replaced is not None:
            replaced.tell({"type": "avatar.ended", "reason": "replaced"})
            self._let_go(replaced)

    def lost(self, peer: CallPeer) -> None:
        self._part(peer)

    def received(self, peer: CallPeer, message: str | bytes) -> None:
        self.takes(peer, lambda: self._take(_read(message)))

    def does(self, peer: CallPeer, event: ClientEvent) -> None:
        """As `received`, of an event that was read already."""
        self.takes(peer, lambda: self._take(event))

    def takes(self, peer: CallPeer, take: Callable[[], None], is_event: bool = True) -> None:
        """Do what the caller wants; what is wrong with it is told the caller.

        Who sends too many events, or too many things that are wrong, is hung up on.
        """
        if peer is not self._peer or self.is_over:
            return
        if is_event and not self._events.take():
            self.end("event_flood")
            return
        try:
            take()
        except AvatarError as error:
            if is_event or self._events.take():
                self._refuse(peer, error)
            else:
                self.end("event_flood")
        except Exception:  # the border: the connection would be closed without a word of ours
            log.exception("event_failed", session=self.id)
            self.end("server_error")

    def reply(self, piece: ReplyPiece) -> None:
        """A piece of the caller's own reply; how much may come is for its connection to say.

        Raises:
            TooLarge: The reply is longer than an answer may be.
        """
        self._active_at = self._clock()
        self.live.reply(piece)

    def silenced(self) -> Heard | None:
        """Silence; what was heard, None where nothing was being said."""
        self._active_at = self._clock()
        return self.live.interrupt()

    def _refuse(self, peer: CallPeer, error: AvatarError) -> None:
        about = {
            "type": "invalid_request_error",
            "code": error.reason.lower(),
            "message": str(outward(error)),
        }
        peer.tell({"type": "error", "error": about})

    def heard(self, peer: CallPeer, samples: NDArray[np.float32]) -> None:
        if peer is not self._peer or self.is_over:
            return
        if self._mic.take(samples.size):
            self.live.hear(samples)
            return
        self._mic_dropped += samples.size
        if self._mic_dropped > MIC_FLOOD_S * SPEECH_RATE:
            self.end("microphone_flood")

    def _take(self, event: ClientEvent) -> None:
        self._check_length(event)
        now = self._clock()
        if isinstance(event, ClientHeartbeat):
            self._heartbeat_at = now
        else:
            self._active_at = now
        if isinstance(event, CreateItem | Say) and not self._texts.take():
            self.end("text_flood")
        else:
            self.live.handle(event)

    def _check_length(self, event: ClientEvent) -> None:
        texts = []
        if isinstance(event, CreateItem):
            texts = [part.text for part in event.item.content]
        elif isinstance(event, Say):
            texts = [event.text]
        longest = self._limits.text_characters
        if (num_characters := sum(map(len, texts))) > longest:
            raise TooLarge(f"the text has {num_characters} characters, at most {longest} are taken")

    # Time

    def check(self) -> None:
        """Decide what is due."""
        if self.is_over:
            return
        now, limits = self._clock(), self._limits
        self.audience.check()
        if self._pending is not None and now - self._pending_since > limits.connect_s:
            self._part(self._pending)
        heartbeat_at = self._heartbeat_at
        if self._peer is not None and heartbeat_at is not None:
            if now - heartbeat_at > limits.heartbeat_s:
                log.info("caller_silent", session=self.id)
                self._part(self._peer)
        if self.live.state != "idle":
            self._active_at = now
        if self._peer is None and now - self._alone_since > limits.grace_s:
            self.end("no_connection")
        left_s = min(self._opened_at + limits.session_s - now, self._left_s())
        self._count_down("time_limit", left_s)
        self._count_down("idle", self._active_at + limits.idle_s - now)

    def _count_down(self, reason: str, left_s: float) -> None:
        if left_s <= 0:
            self.end(reason)
        elif left_s <= self._limits.warning_s and reason not in self._warned:
            self._warned.add(reason)
            self._tell_limit(reason, math.ceil(left_s))
        elif left_s > self._limits.warning_s and reason in self._warned:
            self._warned.remove(reason)
            self._tell_limit(reason, None)  # the caller did something

    def _tell_limit(self, limit: str, seconds_left: int | None) -> None:
        if self._peer is not None:
            self._peer.tell({"type": "avatar.limit", "limit": limit, "seconds_left": seconds_left})

    def _tell_audience(self) -> None:
        if self._peer is not None:
            self._peer.tell({"type": "avatar.viewers", "viewers": self.audience.num_watching})

    def _part(self, peer: CallPeer) -> None:
        if peer is self._peer:
            self.live.detach(peer)
            self._peer = None
            self._alone_since = self._clock()
            log.info("caller_gone", session=self.id)
        elif peer is self._pending:
            self._pending = None
        self._let_go(peer)


def _read(message: str | bytes) -> ClientEvent:
    if isinstance(message, bytes):
        raise InvalidInput("events are JSON texts; bytes were sent")
    return parse(message)
