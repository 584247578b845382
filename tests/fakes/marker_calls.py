"""Calls over real HTTP and WebRTC; behind them no graph, but marks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from avatar.bus.memory import MemoryBus
from avatar.media import SessionId, WorkerId
from services.gateway.accounts import Accounts
from services.gateway.admission import Tell
from services.gateway.calls import Calls
from services.gateway.coordinator import Answers, Session
from services.gateway.guard import Guard
from services.gateway.http import HttpServer
from services.gateway.http_calls import add_call_routes
from services.gateway.once import Once
from services.ports import free_port, listen_shared
from services.settings import AppConfig
from tests.fakes.marker_session import MarkerSession


class MarkerSessions:
    """Opens as many as are asked for."""

    def __init__(self) -> None:
        self.opened: list[MarkerSession] = []

    @asynccontextmanager
    async def session(
        self, avatar: str, live: bool = False, tell: Tell | None = None, answers: Answers = "server"
    ) -> AsyncIterator[Session]:
        session = MarkerSession(id=SessionId(f"s{len(self.opened)}"), avatar=avatar)
        self.opened.append(session)
        yield session.as_session


@asynccontextmanager
async def marker_calls() -> AsyncIterator[str]:
    """The server's URL."""
    config = AppConfig(profile="marker", port=free_port())
    app = FastAPI()
    bus = MemoryBus()
    accounts = Accounts(bus)
    calls = Calls(MarkerSessions(), accounts, config)
    once = Once(bus, WorkerId("gateway"), calls.renew_token)
    add_call_routes(app, calls, config, Guard(None, accounts), once)
    server = HttpServer(app, listen_shared(config.host, config.port))
    server.start()
    await calls.start()
    try:
        yield f"http://{config.host}:{config.port}"
    finally:
        await calls.close()
        await server.close()
