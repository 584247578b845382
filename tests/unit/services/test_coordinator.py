"""Leases of a session: all or none, the freest worker first, and given back whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from avatar.bus import LEASE_TTL_S, Lease, WorkerInfo
from avatar.bus.memory import MemoryBus
from avatar.errors import AvatarError, Busy, Fenced, NotFound, SessionLost, Unavailable
from avatar.media import STAGES, SessionId, StageName, WorkerId
from avatar.transport import Hop, Inbound, OpenRequest
from avatar.transport.memory import MemoryNetwork, MemoryTransport
from services.gateway.admission import Place
from services.gateway.coordinator import DRAWN, Coordinator
from services.worker import LISTED_S
from tests.fakes.calls import ManualClock
from tests.fakes.graph import until

pytestmark = pytest.mark.unit

UPSTREAM = [stage for stage in STAGES if stage != "gateway"]


@dataclass
class CountingBus(MemoryBus):
    """Remembers what was asked of it."""

    acquired: list[tuple[StageName, WorkerId]] = field(default_factory=list)
    released: list[StageName] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def acquire(
        self, session: SessionId, info: WorkerInfo, /, ttl_s: float = LEASE_TTL_S
    ) -> Lease | None:
        self.acquired.append((info.stage, info.worker))
        return await super().acquire(session, info, ttl_s)

    async def release(self, lease: Lease, /) -> None:
        self.released.append(lease.stage)
        await super().release(lease)


@dataclass
class Desk:
    """A coordinator and stages that only pass edges on."""

    bus: CountingBus
    coordinator: Coordinator
    network: MemoryNetwork
    transports: list[MemoryTransport]
    clock: ManualClock
    opened: list[OpenRequest] = field(default_factory=list)

    async def add(self, stage: StageName, number: int = 1, slots: int = 2) -> WorkerInfo:
        transport = MemoryTransport(self.network)
        self.transports.append(transport)

        async def serve(inbound: Inbound) -> None:
            request = inbound.request
            self.opened.append(request)
            if stage == "audio_llm":
                await inbound.receive()
                return
            hop, *rest = request.route
            onward = OpenRequest(request.session, hop.fence, request.avatar, 0, route=tuple(rest))
            channel = await transport.connect(hop.address, onward)
            try:
                await inbound.receive()
            finally:
                await channel.close()

        address = await transport.listen(serve)
        info = WorkerInfo(WorkerId(f"{stage}-{number}"), stage, address, slots)
        await self.bus.advertise(info)
        return info

    async def loads(self) -> int:
        workers = [worker for stage in STAGES for worker in await self.bus.workers(stage)]
        return sum(await self.bus.loads(*(worker.worker for worker in workers)))


@asynccontextmanager
async def desk(slots: int = 2, renew_interval_s: float = 1.0) -> AsyncIterator[Desk]:
    bus, network, clock = CountingBus(), MemoryNetwork(), ManualClock()
    coordinator = Coordinator(
        bus,
        MemoryTransport(network),
        WorkerId("gateway-1"),
        slots=slots,
        chunk_deadline_s=5.0,
        clock=clock,
        new_seed=lambda: 42,
        renew_interval_s=renew_interval_s,
    )
    await coordinator.start()
    made = Desk(bus, coordinator, network, [], clock)
    try:
        yield made
    finally:
        await coordinator.close()
        for transport in made.transports:
            await transport.close()


async def test_a_session_holds_a_lease_on_every_stage_and_gives_all_back() -> None:
    async with desk() as d:
        for stage in UPSTREAM:
            await d.add(stage)
        async with d.coordinator.session("mira") as session:
            assert await d.loads() == 5
            assert list(d.coordinator.sessions) == [session.id]
        assert await d.loads() == 0
        assert d.coordinator.sessions == {}
        assert d.bus.released == [*reversed([stage for stage, _ in d.bus.acquired])]


async def test_a_missing_stage_takes_no_lease_on_the_others() -> None:
    async with desk() as d:
        await d.add("audio_llm")
        await d.add("score_worker")
        await d.add("vae_decoder")
        with pytest.raises(Unavailable, match="no live audio_encoder"):
            async with d.coordinator.session("mira"):
                pass
        assert await d.loads() == 0
        assert await d.coordinator.missing() == ["audio_encoder"]


async def test_a_full_stage_is_busy_and_takes_no_lease_on_the_others() -> None:
    async with desk() as d:
        for stage in UPSTREAM:
            await d.add(stage, slots=1 if stage == "score_worker" else 4)
        async with d.coordinator.session("mira"):
            with pytest.raises(Busy, match="score_worker") as caught:
                async with d.coordinator.session("mira"):
                    pass
            assert caught.value.retry_after_s > 0
            assert await d.loads() == 5
        assert await d.loads() == 0


async def test_the_gateway_itself_has_no_more_sessions_than_slots() -> None:
    async with desk(slots=1) as d:
        for stage in UPSTREAM:
            await d.add(stage)
        async with d.coordinator.session("mira"):
            with pytest.raises(Busy, match="gateway"):
                async with d.coordinator.session("mira"):
                    pass


async def test_sessions_go_to_the_worker_with_most_free_slots() -> None:
    async with desk(slots=8) as d:
        for stage in UPSTREAM:
            await d.add(stage, slots=8)
        big = await d.add("score_worker", number=2, slots=10)
        async with d.coordinator.session("mira"):
            await d.add("score_worker", number=3, slots=20)
            d.clock.now += LISTED_S
            async with d.coordinator.session("mira"):
                pass
        chosen = [worker for stage, worker in d.bus.acquired if stage == "score_worker"]
        assert chosen == [big.worker, "score_worker-3"]


async def test_every_slot_of_a_large_pool_is_found_and_no_other() -> None:
    async with desk(slots=999) as d:
        for stage in UPSTREAM:
            for number in range(3 * DRAWN):
                await d.add(stage, number, slots=2)
        async with AsyncExitStack() as stack:
            for _ in range(6 * DRAWN):
                await stack.enter_async_context(d.coordinator.session("mira"))
            with pytest.raises(Busy, match=f"all {6 * DRAWN} slots"):
                await stack.enter_async_context(d.coordinator.session("mira"))


async def test_a_large_pool_is_filled_evenly() -> None:
    async with desk(slots=999) as d:
        for stage in UPSTREAM:
            for number in range(3 * DRAWN):
                await d.add(stage, number, slots=20)
        async with AsyncExitStack() as stack:
            for _ in range(5 * 3 * DRAWN):
                await stack.enter_async_context(d.coordinator.session("mira"))
            workers = await d.bus.workers("score_worker")
            loads = await d.bus.loads(*(worker.worker for worker in workers))
        assert sum(loads) == 5 * 3 * DRAWN
        assert max(loads) <= 8
        assert min(loads) >= 2


async def test_a_draining_worker_gets_no_new_session() -> None:
    async with desk() as d:
        for stage in UPSTREAM:
            await d.add(stage)
        drained = WorkerInfo(WorkerId("vae_decoder-1"), "vae_decoder", "memory://0", 2, (), True)
        await d.bus.advertise(drained)
        assert await d.coordinator.missing() == ["vae_decoder"]
        with pytest.raises(Unavailable):
            async with d.coordinator.session("mira"):
                pass


async def test_a_gateway_that_drains_opens_no_session_from_that_moment_on() -> None:
    async with desk() as d:
        for stage in UPSTREAM:
            await d.add(stage)
        async with d.coordinator.session("mira"):
            pass  # it has looked who is there, and does not look again: the clock stands still
        await d.coordinator.drain(0.0)
        with pytest.raises(Unavailable, match="no live gateway"):
            async with d.coordinator.session("mira"):
                pass


async def place(
    workers: Mapping[str, tuple[int, int, tuple[str, ...]]], avatar: str = "mira"
) -> WorkerId:
    """Where a session of `avatar` gets its score worker: slots, sessions there, avatars there."""
    async with desk(slots=99) as d:
        for stage in UPSTREAM:
            await d.add(stage, slots=99)
        await d.bus.withdraw(WorkerId("score_worker-1"))
        address = (await d.bus.workers("vae_decoder"))[0].address
        for name, (slots, num_sessions, avatars) in workers.items():
            info = WorkerInfo(WorkerId(name), "score_worker", address, slots, avatars)
            await d.bus.advertise(info)
            for number in range(num_sessions):
                await d.bus.acquire(SessionId(f"{name}-{number}"), info)
        with suppress(AvatarError):  # these workers answer nobody
            async with d.coordinator.session(avatar):
                pass
        return [worker for stage, worker in d.bus.acquired if stage == "score_worker"][-1]


@pytest.mark.parametrize("name", ["a", "b", "c"])
async def test_of_equally_free_workers_one_that_has_the_avatar_is_taken(name: str) -> None:
    for _ in range(4):  # they are drawn
        workers = {each: (2, 1, ("mira",) if each == name else ("otto",)) for each in "abc"}
        assert await place(workers) == name


async def test_an_avatar_in_memory_is_not_worth_a_free_slot() -> None:
    for _ in range(4):
        assert await place({"has": (3, 2, ("mira",)), "free": (3, 1, ())}) == "free"


async def test_among_many_free_slots_one_less_is_about_as_many() -> None:
    for _ in range(4):
        assert await place({"has": (16, 1, ("mira",)), "free": (16, 0, ())}) == "has"
        assert await place({"has": (16, 3, ("mira",)), "free": (16, 0, ())}) == "free"


async def test_a_full_worker_that_has_the_avatar_is_not_waited_for() -> None:
    assert await place({"has": (2, 2, ("mira",)), "other": (2, 1, ())}) == "other"


async def test_the_route_names_every_hop_with_its_fence() -> None:
    async with desk() as d:
        infos = {stage: await d.add(stage) for stage in UPSTREAM}
        async with d.coordinator.session("mira") as session:
            frames = asyncio.create_task(session.next_frames())
            await session.finish()
            first = next(request for request in d.opened if len(request.route) == 3)
            assert (first.avatar, first.seed, first.fence) == ("mira", 42, 1)
            assert first.route[:2] == (
                Hop("score_worker", infos["score_worker"].address, 1),
                Hop("vae_decoder", infos["vae_decoder"].address, 1),
            )
            assert first.route[2].stage == "gateway"
            frames.cancel()


async def test_a_lost_lease_ends_the_session_with_its_name() -> None:
    async with desk(renew_interval_s=0.01) as d:
        for stage in UPSTREAM:
            await d.add(stage)

        async def lose_one() -> None:
            async with d.coordinator.session("mira") as session:
                await d.bus.release(Lease(session.id, "vae_decoder", WorkerId("vae_decoder-1"), 1))
                await asyncio.Event().wait()

        with pytest.raises(SessionLost, match="vae_decoder"):
            await lose_one()
        assert await d.loads() == 0


async def test_a_stage_that_refuses_ends_the_session_with_its_reason() -> None:
    async with desk() as d:
        for stage in UPSTREAM:
            if stage != "vae_decoder":
                await d.add(stage)
        transport = MemoryTransport(d.network)
        d.transports.append(transport)

        async def refuse(inbound: Inbound) -> None:
            raise NotFound("no avatar is called 'mira'")

        address = await transport.listen(refuse)
        await d.bus.advertise(WorkerInfo(WorkerId("vae_decoder-1"), "vae_decoder", address, 2))
        with pytest.raises(NotFound):
            async with d.coordinator.session("mira") as session:
                await session.next_frames()
        assert await d.loads() == 0


async def test_an_error_inside_the_session_gives_the_leases_back_and_passes() -> None:
    async with desk() as d:
        for stage in UPSTREAM:
            await d.add(stage)
        with pytest.raises(ZeroDivisionError):
            async with d.coordinator.session("mira"):
                _ = 1 / 0
        assert await d.loads() == 0


async def test_a_cancelled_session_gives_the_leases_back() -> None:
    async with desk() as d:
        for stage in UPSTREAM:
            await d.add(stage)
        is_open = asyncio.Event()

        async def hold() -> None:
            async with d.coordinator.session("mira"):
                is_open.set()
                await asyncio.Event().wait()

        holding = asyncio.create_task(hold())
        await is_open.wait()
        holding.cancel()
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert await d.loads() == 0
        assert d.coordinator.sessions == {}


async def test_frames_for_a_session_of_somebody_else_are_refused() -> None:
    async with desk() as d:
        info = (await d.bus.workers("gateway"))[0]
        stranger = MemoryTransport(d.network)
        d.transports.append(stranger)
        with pytest.raises(Fenced):
            await stranger.connect(info.address, OpenRequest(SessionId("other"), 1, "mira", 0))


async def test_a_session_ends_though_its_bus_does_not_answer_a_renewal() -> None:
    async with desk(renew_interval_s=0.001) as d:
        for stage in UPSTREAM:
            await d.add(stage)
        is_renewing, answer = asyncio.Event(), asyncio.Event()

        async def renew_all(leases: Sequence[Lease], /, ttl_s: float = LEASE_TTL_S) -> list[bool]:
            is_renewing.set()
            await answer.wait()
            return [True] * len(leases)

        d.bus.renew_all = renew_all  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            async with d.coordinator.session("mira"):
                await is_renewing.wait()
        assert await d.loads() == 0
        answer.set()


async def test_of_many_who_open_at_once_exactly_as_many_get_in_as_there_are_slots() -> None:
    slots = 4
    async with desk(slots=slots) as d:
        for stage in UPSTREAM:
            await d.add(stage, slots=slots)
        end = asyncio.Event()
        admitted: list[SessionId] = []
        refused: list[Busy] = []

        async def caller() -> None:
            try:
                async with d.coordinator.session("mira") as session:
                    admitted.append(session.id)
                    await end.wait()
            except Busy as error:
                refused.append(error)

        callers = [asyncio.create_task(caller()) for _ in range(slots + 50)]
        await until(lambda: len(admitted) + len(refused) == slots + 50)
        assert len(admitted) == slots
        assert all(each.position and each.retry_after_s > 0 for each in refused)
        assert await d.loads() == 5 * slots
        end.set()
        await asyncio.gather(*callers)
        assert await d.loads() == 0


async def test_opens_that_are_cancelled_leave_no_lease_and_no_place_in_line() -> None:
    async def tell(place: Place) -> None:
        pass

    async with desk(slots=2) as d:
        for stage in UPSTREAM:
            await d.add(stage)

        async def caller() -> None:
            async with d.coordinator.session("mira", tell=tell):
                await asyncio.Event().wait()

        callers = [asyncio.create_task(caller()) for _ in range(100)]
        for number, task in enumerate(callers):  # each at another point of its way
            for _ in range(number % 23):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert await d.loads() == 0
        assert await d.bus.line_length() == 0
        assert d.coordinator.sessions == {}
