"""The edge: people connect here; owns the sessions and their media timeline."""

import asyncio
from typing import ClassVar

from fastapi import FastAPI

from avatar.cast.characters import CAST
from avatar.errors import AvatarError
from avatar.media import StageName
from avatar.telemetry.logging import get_logger
from services.gateway.accounts import Accounts
from services.gateway.calls import Calls
from services.gateway.coordinator import Coordinator
from services.gateway.forward import Forwarder
from services.gateway.guard import Guard, keyring_for
from services.gateway.http import HttpServer, make_app
from services.gateway.http_avatars import add_avatar_routes
from services.gateway.http_calls import add_call_routes
from services.gateway.once import Once
from services.gateway.recipes import recipes_of
from services.gateway.rpc import avatars, operator, sessions, talk
from services.gateway.rpc.avatars import AvatarService
from services.gateway.rpc.live import Talks
from services.gateway.rpc.operator import OperatorService
from services.gateway.rpc.owner import Owners
from services.gateway.rpc.server import MAX_CALLS, RpcServer
from services.gateway.rpc.sessions import SessionService
from services.gateway.rpc.talk import TalkService
from services.gateway.talker import Talker, TalkStep
from services.gateway.workshop import Workshop
from services.ports import listen_private, listen_shared, url_of
from services.replica import Wiring, launcher_id, new_worker_id
from services.settings import AppConfig, Environment

log = get_logger(__name__)

POLL_S = 0.25
WARM_UP_TEXT = "Hello."


class Gateway:
    """HTTP, the page and the talk service; ready once the whole graph has made a video."""

    stage: ClassVar[StageName] = "gateway"

    def __init__(self, config: AppConfig, environment: Environment, wiring: Wiring) -> None:
        self._config = config
        self._environment = environment
        self.wiring = wiring
        worker = new_worker_id(self.stage)
        self.coordinator = Coordinator(
            wiring.bus,
            wiring.transport,
            worker,
            slots=config.num_slots,
            chunk_deadline_s=config.limits.chunk_s,
            line_length=config.limits.line_length,
            line_s=config.limits.line_s,
        )
        self.talker = Talker(self.coordinator, config)
        accounts = Accounts(wiring.bus)
        keyring = keyring_for(config.host, environment.key_file, config.stage_host)
        self.guard = Guard(keyring, accounts)
        self.calls = Calls(
            self.coordinator,
            accounts,
            config,
            environment.ice_servers,
            can_leave_answers=not environment.chat.realtime_model,
        )
        self.waiting_for: list[str] = ["the gateway"]
        self.grpc_port = 0
        self._forwarder = Forwarder(wiring.bus, worker, config.limits)
        self._owners = Owners(wiring.bus, worker)
        self._once = Once(wiring.bus, worker, self.calls.renew_token)
        recipes = recipes_of(config)
        self.workshop = Workshop(wiring.bus, worker, config.avatars_dir, config.profile, recipes)
        self.app = self._make_app()
        self._rpc = self._make_rpc()
        self._http: HttpServer | None = None
        self._is_closed = False
        self._is_draining = False
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen at once; readiness follows when the other stages are there."""
        config = self._config
        private = listen_private(config.stage_host)
        public, in_line = listen_shared(config.host, config.port), config.limits.line_length
        self._http = HttpServer(self.app, public, private, most_in_line=in_line)
        self._http.start()
        self.grpc_port, private_rpc = await self._rpc.start(
            config.host, config.grpc_port, config.stage_host
        )
        await self.coordinator.start(url_of(private), private_rpc)
        await self.calls.start()
        self._warming = asyncio.create_task(self._become_ready())

    def check_health(self) -> None:
        self.coordinator.check_health()
        self.calls.check_health()

    async def load(self) -> dict[str, float]:
        return await self.coordinator.load()

    async def drain(self, limit_s: float) -> None:
        """Open no more sessions; not ready, so that a balancer asks others."""
        self._is_draining = True
        await self.coordinator.drain(limit_s)

    async def close(self) -> None:
        """Idempotent."""
        self._is_closed = True
        self.waiting_for = ["the end"]
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait({self._warming})
        await self.workshop.close()
        await self.calls.close()
        await self._rpc.close()
        if self._http is not None:
            await self._http.close()
        await self._forwarder.close()
        await self._owners.close()
        await self.coordinator.close()
        await self.wiring.close()

    def _make_app(self) -> FastAPI:
        config, environment, guard = self._config, self._environment, self.guard
        app = make_app(self.talker, config, environment, lambda: self.waiting_for, guard)
        servers = environment.ice_servers
        add_call_routes(app, self.calls, config, guard, self._once, self._forwarder, servers)
        add_avatar_routes(app, self.workshop, config, guard, self._forwarder)
        return app

    def _make_rpc(self) -> RpcServer:
        config, guard, bus = self._config, self.guard, self.wiring.bus
        talks = Talks(self.calls, self._owners, config)
        services = [
            talk.served(TalkService(self.talker, talks, config.limits, guard)),
            sessions.served(SessionService(self.calls, guard, self._once, self._owners, config)),
            avatars.served(AvatarService(self.workshop, guard, self._owners, config)),
            operator.served(OperatorService(bus, guard)),
        ]
        # a caller talks, and perhaps asks something else meanwhile; those who wait do so in a call
        slots = config.num_slots
        max_calls = MAX_CALLS + 2 * slots + config.limits.line_length
        return RpcServer(services, max_calls, config.limits.waiting_streams + slots)

    async def _become_ready(self) -> None:
        """Wait for the stages, warm them with one short video, then keep watching."""
        is_warm = False
        while not self._is_closed:  # looked at because redis-py can swallow a cancellation
            try:
                missing: list[str] = list(await self.coordinator.missing())
                if await self._is_launcher_listening():
                    missing.append("the launcher's port")
                if self._is_draining or self.coordinator.is_draining:
                    missing = ["its own end: it takes no new sessions"]
                if not missing and not is_warm:
                    self._wait_for(["the first video"])
                    await self.talker.say(CAST[0].id, WARM_UP_TEXT, _ignore)
                    is_warm = True
                self._wait_for(missing)
            except (AvatarError, OSError) as error:
                log.warning("not_ready", error=str(error))
                self._wait_for([f"{type(error).__name__}: {error}"])
            await self._rpc.set_ready(not self.waiting_for)
            await asyncio.sleep(POLL_S if self.waiting_for else 4 * POLL_S)

    async def _is_launcher_listening(self) -> bool:
        workers = await self.wiring.bus.workers("gateway")
        return any(worker.worker == launcher_id(self._config.port) for worker in workers)

    def _wait_for(self, missing: list[str]) -> None:
        if missing != self.waiting_for:
            log.info("readiness", waiting_for=", ".join(missing))
        self.waiting_for = missing


async def _ignore(step: TalkStep) -> None:
    pass
