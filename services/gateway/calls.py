"""All calls of a gateway: opened, found by their token, watched, and freed whatever ends them."""

import asyncio
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, NamedTuple, Protocol

from aiortc import RTCIceServer

from avatar.errors import AvatarError, NotFound, NotOffered, Unauthenticated, Unavailable
from avatar.telemetry.logging import bound, get_logger
from services.garbage import sweep
from services.gateway.accounts import Accounts
from services.gateway.admission import Tell
from services.gateway.audience import Audience
from services.gateway.call import Call, CallPeer, Live
from services.gateway.connection import Connection
from services.gateway.coordinator import Answers, Session
from services.gateway.feed import Feed
from services.gateway.keyring import ANYBODY, Caller
from services.gateway.live import LiveSession
from services.gateway.peer import WebRtcPeer
from services.gateway.reach import Reach
from services.gateway.sdp import read_offer, read_viewer_offer
from services.gateway.talker import find_avatar
from services.gateway.tokens import TokenHash, ViewerTokens
from services.settings import AppConfig, IceServer

log = get_logger(__name__)

CHECK_S: Final = 0.25
PARTING_S: Final = 1.0
"""How long a caller has to hang up after it was told that the call is over."""
SHUTDOWN_S: Final = 5.0
MAX_ENCODERS: Final = 4
MAX_REMEMBERED: Final = 64
"""Ended calls whose callers can still ask why."""


class Sessions(Protocol):
    """Where sessions come from; a `Coordinator` is one."""

    def session(
        self,
        avatar: str,
        live: bool = False,
        tell: Tell | None = None,
        answers: Answers = "server",
    ) -> AbstractAsyncContextManager[Session]: ...


class _Ended(NamedTuple):
    """What is remembered of a call."""

    token: TokenHash
    viewer_tokens: ViewerTokens
    reason: str


MakeLive = Callable[[Session, AppConfig, Callable[[], float]], Live]


class Calls:
    """Owns every call's task, and closes every connection."""

    def __init__(
        self,
        sessions: Sessions,
        accounts: Accounts,
        config: AppConfig,
        ice_servers: Sequence[IceServer] = (),
        clock: Callable[[], float] = time.monotonic,
        make_live: MakeLive = LiveSession,
        can_leave_answers: bool = True,
    ) -> None:
        """`can_leave_answers`: a caller's own program may answer what the caller says."""
        self._sessions = sessions
        self._accounts = accounts
        self._config = config
        self._reach = Reach(config.host)
        self._ice_servers = [_for_aiortc(server) for server in ice_servers]
        self._clock = clock
        self._make_live = make_live
        self._can_leave_answers = can_leave_answers
        self._calls: dict[str, Call] = {}
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self._running: dict[asyncio.Task[None], Call | None] = {}
        self._parting: set[asyncio.Task[None]] = set()
        self._executor = ThreadPoolExecutor(
            min(MAX_ENCODERS, os.cpu_count() or 1), thread_name_prefix="encode"
        )
        self._watching: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    def check_health(self) -> None:
        """Raise if calls are no longer watched."""
        if self._watching is None or self._watching.done():
            raise RuntimeError("calls are not watched")

    async def close(self) -> None:
        """Tell all callers `shutdown`, and free everything; idempotent."""
        self._is_closed = True
        for task, call in self._running.items():
            if call is None:  # it waits for a slot
                task.cancel()
            else:
                call.end("shutdown")
        if self._running:
            _, stuck = await asyncio.wait(self._running, timeout=SHUTDOWN_S)
            for task in stuck:
                task.cancel()
            if stuck:
                await asyncio.wait(stuck)
        if self._parting:
            await asyncio.wait(self._parting)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        await asyncio.to_thread(self._executor.shutdown)

    async def open(
        self,
        avatar: str,
        tell: Tell | None = None,
        caller: Caller = ANYBODY,
        answers: Answers = "server",
    ) -> tuple[Call, str]:
        """A new call and the token of its caller; it ends by itself if nobody connects.

        `tell` hears of the caller's place in line; without it nobody waits.

        Raises:
            NotFound: There is no such avatar.
            NotOffered: The caller wants to answer by itself, and the model cannot but answer.
            QuotaExceeded: The caller's key may have no more.
            Busy: All slots are taken, or stay so for too long.
            Unavailable: The graph, or this gateway, is not there.
        """
        character = find_avatar(avatar, self._config.avatars_dir)
        if answers == "client" and not self._can_leave_answers:
            raise NotOffered(
                "this server's speech-to-speech model answers by itself; open the session with "
                "the server's answers, or have OPENAI_REALTIME_MODEL unset"
            )
        if self._is_closed:
            raise Unavailable("this gateway is shutting down; try again in a few seconds")
        token = secrets.token_urlsafe(32)
        opened: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(character.id, token, tell, caller, answers, opened))
        self._running[task] = None
        task.add_done_callback(self._running.pop)
        try:
            return await opened, token
        except asyncio.CancelledError:
            task.cancel()  # nobody will ever have the token
            raise

    def renew_token(self, call: Call) -> str:
        """A token in place of the one that did not arrive, which is good no more."""
        token = secrets.token_urlsafe(32)
        call.token = TokenHash(token)
        return token

    def all(self) -> list[Call]:
        """Those that go on, the oldest first."""
        return [call for call in self._calls.values() if not call.is_over]

    def has(self, id: str) -> bool:
        """Whether this gateway knows the call, or remembers it."""
        return id in self._calls or id in self._ended

    def find(self, id: str, token: str) -> Call:
        """The call that goes on under this id.

        Raises:
            Unauthenticated: The token is another call's, or missing.
            NotFound: There is none, or it has ended.
        """
        return self._find(id, token, may_watch=False)

    def find_watched(self, id: str, token: str) -> Call:
        """The same, for a token that lets its bearer watch; the owner's does, too.

        Raises:
            Unauthenticated: As `find`.
            NotFound: As `find`.
        """
        return self._find(id, token, may_watch=True)

    def _find(self, id: str, token: str, *, may_watch: bool) -> Call:
        if not token:
            raise Unauthenticated("send the session's token: Authorization: Bearer TOKEN")
        call = self._calls.get(id)
        known = _remembered(call) if call is not None else self._ended.get(id)
        if known is None:
            raise NotFound(f"there is no session {id[:64]!r}; open one with POST /v1/sessions")
        watches = may_watch and known.viewer_tokens.matches(token)
        if not watches and not known.token.matches(token):
            raise Unauthenticated("the token is not this session's; POST /v1/sessions gave it")
        if call is None or call.is_over:
            raise NotFound(f"this session has ended: {known.reason}")
        return call

    async def connect(self, call: Call, body: bytes) -> str:
        """Answer an SDP offer; the connection replaces the present one once it stands.

        Raises:
            InvalidInput: It is no offer that can be answered; TooLarge is one of these.
            TooManyAttempts: This call was offered too many connections of late.
            NotFound: The call has ended meanwhile.
        """
        call.attempt()
        with bound(session=call.id):
            offer = read_offer(body, self._config.limits.sdp_bytes)
            peer = WebRtcPeer(
                call,
                offer,
                call.audience.feed,
                session_id=call.id,
                reach=self._reach,
                ice_servers=self._ice_servers,
            )
            answer = await _answered(peer)
        if call.is_over:
            await peer.close()
            raise NotFound(f"this session has ended: {call.live.ended}")
        call.expect(peer)
        return answer

    def join(self, call: Call, peer: CallPeer) -> None:
        """Connect a peer that stands already; the present connection ends.

        Raises:
            TooManyAttempts: This call had too many connections of late.
        """
        call.attempt()
        call.expect(peer)
        call.connected(peer)

    async def watch(self, call: Call, body: bytes) -> tuple[str, str]:
        """Answer a viewer's SDP offer; returns the viewer's id, and the answer.

        Raises:
            InvalidInput: It is no offer that can be answered; TooLarge is one of these.
            TooManyAttempts: This call was offered too many viewers of late.
            TooManyViewers: As many watch as may.
            NotFound: The call has ended meanwhile.
        """
        audience = call.audience
        audience.attempt()
        with bound(session=call.id):
            offer = read_viewer_offer(body, self._config.limits.sdp_bytes, audience.feed.codec)
            id, viewer = audience.admit(offer, self._reach, self._ice_servers)
            try:
                answer = await _answered(viewer)
            except BaseException:
                audience.lost(viewer)
                raise
        if call.is_over:
            audience.lost(viewer)
            raise NotFound(f"this session has ended: {call.live.ended}")
        return id, answer

    async def end(self, call: Call) -> None:
        """End a call as its caller wants it; its places are free when this returns."""
        call.end("hung_up")
        tasks = [task for task, running in self._running.items() if running is call]
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_S)

    def check(self) -> None:
        """Have every call decide what is due; ends those that do not end by themselves."""
        for call in list(self._calls.values()):
            call.check()
        for task, running in list(self._running.items()):
            if running is not None and running.is_stuck:
                log.warning("call_stuck", session=running.id)
                task.cancel()

    async def _watch(self) -> None:
        while not self._is_closed:
            await asyncio.sleep(CHECK_S)
            self.check()

    async def _run(
        self,
        avatar: str,
        token: str,
        tell: Tell | None,
        caller: Caller,
        answers: Answers,
        opened: "asyncio.Future[Call]",
    ) -> None:
        """One call, as long as it lasts."""
        try:
            async with (
                self._accounts.place(caller),
                self._sessions.session(avatar, True, tell, answers) as session,
                self._accounts.metered(caller) as left_s,
            ):
                config = _with_time(self._config, left_s())
                live = self._make_live(session, config, self._clock)
                call = Call(
                    live,
                    TokenHash(token),
                    config.limits,
                    self._let_go,
                    self._clock,
                    self._audience(),
                    caller.key,
                    left_s,
                )
                with bound(session=call.id):
                    await self._live(call, opened)
        except AvatarError as error:
            if opened.done():
                log.warning("call_failed", reason=error.reason, error=str(error))
            _fail(opened, error)
        except Exception as error:  # the border: callers get a reason, the log the traceback
            log.exception("call_failed")
            _fail(opened, AvatarError("the server failed on this call; its log says why"), error)
        finally:
            _fail(opened, Unavailable("this gateway is shutting down; try again in a few seconds"))

    async def _live(self, call: Call, opened: "asyncio.Future[Call]") -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = call
        self._calls[call.id] = call
        try:
            if opened.cancelled():
                return
            opened.set_result(call)
            log.info("call_opened", key=call.key)
            if self._is_closed:
                call.end("shutdown")
            await call.live.run()
        finally:
            call.end("server_error")  # unless it was ended before
            call.leave()
            del self._calls[call.id]
            self._ended[call.id] = _remembered(call)
            if len(self._ended) > MAX_REMEMBERED:
                self._ended.popitem(last=False)
            log.info("call_ended", key=call.key, reason=call.live.ended)

    def _audience(self) -> Audience:
        feed = Feed(self._executor, self._clock, self._config.clock.fps)
        # nobody tells viewers to go: they hear no events
        let_go = partial(self._let_go, patience_s=0.0)
        return Audience(feed, self._config.limits, let_go, self._clock)

    def _let_go(self, connection: CallPeer, patience_s: float = PARTING_S) -> None:
        task = asyncio.create_task(connection.leave(patience_s))
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)
        task.add_done_callback(lambda _: sweep())


async def _answered(connection: Connection) -> str:
    """The answer; a connection that has none is closed."""
    try:
        return await connection.answer()
    except BaseException as error:
        await connection.close()
        if isinstance(error, Exception):
            log.exception("offer_failed")
            raise AvatarError("the server failed on this offer; its log says why") from error
        raise


def _remembered(call: Call) -> _Ended:
    return _Ended(call.token, call.audience.tokens, call.live.ended)


def _fail(
    opened: "asyncio.Future[Call]", error: AvatarError, cause: Exception | None = None
) -> None:
    if not opened.done():
        error.__cause__ = cause
        opened.set_exception(error)


def _with_time(config: AppConfig, left_s: float) -> AppConfig:
    """A call is as long as its key has time left, if that is shorter than calls may be."""
    if left_s >= config.limits.session_s:
        return config
    limits = config.limits.model_copy(update={"session_s": left_s})
    return config.model_copy(update={"limits": limits})


def _for_aiortc(server: IceServer) -> RTCIceServer:
    credential = server.credential.get_secret_value() if server.credential is not None else None
    return RTCIceServer(list(server.urls), server.username, credential)
