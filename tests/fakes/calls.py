"""Calls without a graph: sessions that play a beep with a flash each second, and note the rest."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from avatar.bus import Bus
from avatar.bus.memory import MemoryBus
from avatar.errors import AvatarError, Busy
from avatar.media import SessionId, WorkerId
from avatar.timebase import TICKS_PER_SECOND
from bench.receiver import Booking
from services.gateway.accounts import Accounts
from services.gateway.admission import Admission, Tell
from services.gateway.answer import Heard
from services.gateway.calls import Calls
from services.gateway.coordinator import Answers, Session
from services.gateway.events import CallState, ClientEvent
from services.gateway.guard import Guard
from services.gateway.http import HttpServer, make_app
from services.gateway.http_avatars import add_avatar_routes
from services.gateway.http_calls import add_call_routes
from services.gateway.http_owner import Elsewhere
from services.gateway.media import BLOCK_SAMPLES, BLOCK_TICKS, PLAYED_RATE, Block, Peer, Picture
from services.gateway.once import Once
from services.gateway.own_reply import ReplyPiece
from services.gateway.recipes import Recipes
from services.gateway.talker import Talker
from services.gateway.workshop import Workshop
from services.ports import free_port, listen_shared
from services.settings import AppConfig, Environment, Limits

NOWHERE = Path("/nowhere")
"""No avatars but the shipped ones."""
SIZE = 256
BEEP_HZ = 1000
BEEP_TICKS = TICKS_PER_SECOND // 5
FIRST_AT = 7 * TICKS_PER_SECOND + BLOCK_TICKS
"""A caller joins somewhere within the call."""


@dataclass
class ManualClock:
    """Stands still until told otherwise."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeSessionPart:
    """What of a session a `FakeLive` looks at."""

    id: SessionId
    avatar: str
    answers: Answers = "server"


@dataclass
class FakeSessions:
    """Stands where the coordinator is, with its line."""

    slots: int = 2
    opened: int = 0
    opening: int = 0
    present: set[str] = field(default_factory=set)
    bus: MemoryBus = field(default_factory=MemoryBus)

    def __post_init__(self) -> None:
        self._admission = Admission(self.bus, longest=3, patience_s=60)

    @asynccontextmanager
    async def session(
        self,
        avatar: str,
        live: bool = False,
        tell: Tell | None = None,
        answers: Answers = "server",
    ) -> AsyncIterator[Session]:
        assert live
        async with AsyncExitStack() as stack:

            async def acquire() -> SessionId:
                if len(self.present) >= self.slots:
                    raise Busy("all slots are taken")
                self.opened += 1
                id = SessionId(f"call-{self.opened}")
                self.present.add(id)
                stack.callback(self.present.discard, id)
                return id

            self.opening += 1
            try:
                id = await self._admission.admit(acquire, tell)
            finally:
                self.opening -= 1
            yield cast(Session, FakeSessionPart(id, avatar, answers))


def block_at(at: int) -> Block:
    """The beep is loud, and the picture white, in the first fifth of each second."""
    ticks = at + np.arange(BLOCK_SAMPLES)
    tone = 12_000 * np.sin(2 * np.pi * BEEP_HZ * ticks / PLAYED_RATE)
    sound = np.where(ticks % TICKS_PER_SECOND < BEEP_TICKS, tone, 0).astype(np.int16)
    pictures: tuple[Picture, ...] = ()
    if at % (2 * BLOCK_TICKS) == 0:
        grey = 235 if at % TICKS_PER_SECOND < BEEP_TICKS else 20
        pictures = (Picture(at, np.full((SIZE, SIZE, 3), grey, np.uint8)),)
    return Block(at, sound, pictures)


class FakeLive:
    """Plays `block_at` in real time to whoever is attached; `fail` makes it fail."""

    def __init__(self, session: Session, config: AppConfig, clock: Callable[[], float]) -> None:
        self.id = session.id
        self.state: CallState = "idle"
        self.ended = ""
        self.heard: list[NDArray[np.float32]] = []
        self.events: list[ClientEvent] = []
        self.replies: list[ReplyPiece] = []
        self.heard_so_far: Heard | None = None
        self.backlog_s = 0.0
        self.peers: list[Peer] = []
        self.peer: Peer | None = None
        self.at = FIRST_AT
        self._avatar = session.avatar
        self._answers = session.answers
        self._over = asyncio.Event()
        self._failure: Exception | None = None

    async def run(self) -> None:
        try:
            playing = asyncio.create_task(self._play())
            await self._over.wait()
            playing.cancel()
            await asyncio.wait({playing})
            if self._failure is not None:
                raise self._failure
        finally:
            self.end("server_error")

    def attach(self, peer: Peer) -> Peer | None:
        replaced, self.peer = self.peer, peer
        self.peers.append(peer)
        peer.tell({"type": "session.created", "session": {"avatar": self._avatar}, "items": []})
        return replaced

    def detach(self, peer: Peer) -> None:
        if peer is self.peer:
            self.peer = None

    def hear(self, samples: NDArray[np.float32]) -> None:
        self.heard.append(samples)

    def handle(self, event: ClientEvent) -> None:
        self.events.append(event)

    def interrupt(self) -> Heard | None:
        heard, self.heard_so_far = self.heard_so_far, None
        return heard

    def reply(self, piece: ReplyPiece) -> None:
        self.replies.append(piece)

    def end(self, reason: str) -> None:
        if not self.ended:
            self.ended = reason
            if self.peer is not None:
                self.peer.tell({"type": "avatar.ended", "reason": reason})
        self._over.set()

    def fail(self, error: Exception) -> None:
        self._failure = error
        self._over.set()

    def describe(self) -> dict[str, object]:
        return {
            "id": self.id,
            "avatar": self._avatar,
            "state": self.state,
            "models": ["a fake"],
            "answers": self._answers,
        }

    @property
    def microphone(self) -> NDArray[np.float32]:
        return np.concatenate(self.heard) if self.heard else np.zeros(0, np.float32)

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.peer is not None:
                self.peer.play(block_at(self.at))
            self.at += BLOCK_TICKS
            # a loop that stood still does not hurry after
            due = max(due + BLOCK_TICKS / TICKS_PER_SECOND, loop.time() - 0.1)
            await asyncio.sleep(max(0.0, due - loop.time()))


@dataclass
class CallDesk:
    """A gateway's calls and their HTTP, in process; media go over loopback."""

    calls: Calls
    http: httpx.AsyncClient
    sessions: FakeSessions
    lives: list[FakeLive]
    app: FastAPI
    config: AppConfig
    guard: Guard
    once: Once
    bus: Bus
    workshop: Workshop

    async def booking(self, avatar: str = "") -> Booking:
        response = await self.http.post("/v1/sessions", json={"avatar": avatar} if avatar else {})
        response.raise_for_status()
        return Booking(self.http, response.json())

    @property
    def live(self) -> FakeLive:
        """The newest session."""
        return self.lives[-1]

    def fail(self, error: AvatarError) -> None:
        self.live.fail(error)


@asynccontextmanager
async def call_desk(
    limits: Limits | None = None,
    slots: int = 2,
    elsewhere: Elsewhere | None = None,
    guard: Guard | None = None,
    bus: Bus | None = None,
    worker: str = "gateway",
    avatars: Path = NOWHERE,
    recipes: Recipes | None = None,
    **options: Any,
) -> AsyncIterator[CallDesk]:
    """Until the block ends; `bus` and `worker` are what other gateways know of it, and `options`
    those of `Calls`.
    """
    config = AppConfig(limits=limits or Limits(), slots=slots, avatars_dir=avatars)
    sessions = FakeSessions(slots)
    guard = guard or Guard(None, Accounts(MemoryBus()))
    lives: list[FakeLive] = []

    def make_live(session: Session, config: AppConfig, clock: Callable[[], float]) -> FakeLive:
        lives.append(FakeLive(session, config, clock))
        return lives[-1]

    calls = Calls(sessions, guard.accounts, config, make_live=make_live, **options)
    app = make_app(cast(Talker, None), config, Environment(), list, guard)
    once = Once(bus or sessions.bus, WorkerId(worker), calls.renew_token)
    add_call_routes(app, calls, config, guard, once, elsewhere, options.get("ice_servers", ()))
    workshop = Workshop(
        bus or sessions.bus, WorkerId(worker), avatars, config.profile, recipes or Recipes()
    )
    add_avatar_routes(app, workshop, config, guard, elsewhere)
    await calls.start()
    try:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield CallDesk(
                calls,
                http,
                sessions,
                lives,
                app,
                config,
                guard,
                once,
                bus or sessions.bus,
                workshop,
            )
    finally:
        await workshop.close()
        await calls.close()


@asynccontextmanager
async def served_desk(**options: Any) -> AsyncIterator[CallDesk]:
    """A `call_desk` behind a real server, whose answers can be read as they come."""
    async with call_desk(**options) as desk:
        port = free_port()
        server = HttpServer(desk.app, listen_shared("127.0.0.1", port))
        server.start()
        limits = httpx.Limits(max_connections=None)
        try:
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, limits=limits) as http:
                yield replace(desk, http=http)
        finally:
            await server.close()
