"""One contract for every bus: leases, slots, fencing, ledgers, control; also under faults."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from avatar import errors
from avatar.bus import (
    LEDGER_LENGTH,
    MAX_LEDGER_ENTRY_BYTES,
    Bus,
    Control,
    Lease,
    LedgerEntry,
    Measured,
    WorkerInfo,
)
from avatar.bus.faulty import OUTAGE_CALLS, Fault, FaultyBus
from avatar.bus.memory import MemoryBus
from avatar.bus.redis import MAX_CONNECTIONS, RedisBus
from avatar.bus.valkey import run_valkey, valkey_server
from avatar.media import SessionId, StageName, WorkerId

pytestmark = pytest.mark.integration

S1, S2 = SessionId("s1"), SessionId("s2")
STAGE: StageName = "score_worker"
FAULTS: tuple[Fault, ...] = (
    "delay",
    "reorder",
    "duplicate",
    "drop_request",
    "drop_answer",
    "disconnect",
)


class PatientBus:
    """A caller that asks again after Unavailable, as the contract says it may."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._bus, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return await method(*args, **kwargs)
                except errors.Unavailable:
                    continue

        return call

    async def control(self, session: SessionId) -> AsyncIterator[Control]:
        seen: set[Control] = set()
        while True:
            try:
                async for control in self._bus.control(session):
                    if control not in seen:
                        seen.add(control)
                        yield control
                return
            except errors.Unavailable:
                continue


async def no_time(_: float) -> None:
    await asyncio.sleep(0)


def some_faults(seed: int) -> Iterator[Fault | None]:
    """Every second call or so goes wrong."""
    generator = random.Random(seed)
    while True:
        yield generator.choice((*FAULTS, *[None] * len(FAULTS)))


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with run_valkey() as url:
        yield url


@pytest.fixture(params=["memory", "redis", "faulty memory", "faulty redis"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    async with make_bus(request.param, request.getfixturevalue) as made:
        yield made


@asynccontextmanager
async def make_bus(kind: str, fixture: Callable[[str], str]) -> AsyncIterator[Bus]:
    made: Bus = MemoryBus()
    if kind.endswith("redis"):
        url = fixture("valkey_url")
        with redis.Redis.from_url(url) as client:
            client.flushall()
        made = RedisBus(url)
    if kind.startswith("faulty"):
        made = cast(Bus, PatientBus(FaultyBus(made, some_faults(seed=1), no_time)))
    yield made
    await made.close()


def worker(name: str = "w1", slots: int = 1, stage: StageName = STAGE) -> WorkerInfo:
    return WorkerInfo(WorkerId(name), stage, f"{name}:50051", slots, avatars=("ada", "bo"))


async def acquired(bus: Bus, session: SessionId, info: WorkerInfo, ttl_s: float = 60) -> Lease:
    lease = await bus.acquire(session, info, ttl_s)
    assert lease is not None
    return lease


async def seqs(bus: Bus, session: SessionId = S1) -> list[tuple[int, int]]:
    return [(entry.fence, entry.seq) for entry in await bus.replay(session, STAGE)]


async def read(bus: Bus, session: SessionId, count: int) -> list[Control]:
    async with asyncio.timeout(10):
        controls: list[Control] = []
        async for control in bus.control(session):
            controls.append(control)
            if len(controls) == count:
                break
        return controls


# Workers


async def test_an_advertised_worker_is_listed_as_it_is(bus: Bus) -> None:
    measured = Measured(chunk_s=0.48, cost_s=0.03, together=2, sessions=24)
    info = WorkerInfo(
        WorkerId("w1"), STAGE, "10.0.0.1:99", 3, ("ada", "bo"), draining=True, measured=measured
    )
    await bus.advertise(info)
    assert await bus.workers(STAGE) == [info]


async def test_workers_are_listed_by_stage_in_a_stable_order(bus: Bus) -> None:
    for name in ("w3", "w1", "w2"):
        await bus.advertise(worker(name))
    await bus.advertise(worker("w0", stage="vae_decoder"))
    assert [info.worker for info in await bus.workers(STAGE)] == ["w1", "w2", "w3"]
    assert [info.worker for info in await bus.workers("vae_decoder")] == ["w0"]


async def test_a_new_heartbeat_replaces_the_old(bus: Bus) -> None:
    await bus.advertise(worker(slots=1))
    await bus.advertise(worker(slots=4))
    assert [info.slots for info in await bus.workers(STAGE)] == [4]


async def test_a_withdrawn_worker_is_gone(bus: Bus) -> None:
    await bus.advertise(worker("w1"))
    await bus.advertise(worker("w2"))
    await bus.withdraw(WorkerId("w1"))
    await bus.withdraw(WorkerId("w1"))
    await bus.withdraw(WorkerId("never seen"))
    assert [info.worker for info in await bus.workers(STAGE)] == ["w2"]


async def test_a_worker_without_heartbeat_is_listed_no_more(bus: Bus) -> None:
    await bus.advertise(worker("w1"), 0.001)
    await bus.advertise(worker("w2"))
    async with asyncio.timeout(10):
        while len(await bus.workers(STAGE)) > 1:
            await no_time(0)  # a turn of the loop, for a bus whose answers need none
    assert [info.worker for info in await bus.workers(STAGE)] == ["w2"]
    await bus.advertise(worker("w1"))
    assert len(await bus.workers(STAGE)) == 2


# Leases and slots


async def test_the_first_lease_has_fence_1_and_takes_a_slot(bus: Bus) -> None:
    lease = await bus.acquire(S1, worker())
    assert lease == Lease(S1, STAGE, WorkerId("w1"), fence=1)
    assert await bus.loads(WorkerId("w1")) == [1]


async def test_a_worker_without_free_slot_leases_nothing(bus: Bus) -> None:
    await acquired(bus, S1, worker(slots=1))
    assert await bus.acquire(S2, worker(slots=1)) is None
    assert await bus.loads(WorkerId("w1")) == [1]


async def test_slots_are_never_overbooked(bus: Bus) -> None:
    sessions = [SessionId(f"s{number}") for number in range(20)]
    leases = await asyncio.gather(*(bus.acquire(session, worker(slots=3)) for session in sessions))
    assert sum(lease is not None for lease in leases) == 3
    assert await bus.loads(WorkerId("w1")) == [3]


async def test_the_present_owner_acquires_again_with_the_same_fence(bus: Bus) -> None:
    first = await acquired(bus, S1, worker(slots=1))
    assert await bus.acquire(S1, worker(slots=1)) == first
    assert await bus.loads(WorkerId("w1")) == [1]


async def test_a_take_over_raises_the_fence_and_frees_the_old_slot(bus: Bus) -> None:
    old = await acquired(bus, S1, worker("w1"))
    new = await acquired(bus, S1, worker("w2"))
    assert new.fence == old.fence + 1
    assert await bus.loads(WorkerId("w1"), WorkerId("w2")) == [0, 1]


async def test_the_owner_before_can_neither_renew_nor_release(bus: Bus) -> None:
    old = await acquired(bus, S1, worker("w1"))
    new = await acquired(bus, S1, worker("w2"))
    assert not await bus.renew(old)
    await bus.release(old)
    assert await bus.renew(new)
    assert await bus.loads(WorkerId("w2")) == [1]


async def test_a_lease_that_went_there_and_back_is_a_new_one(bus: Bus) -> None:
    first = await acquired(bus, S1, worker("w1"))
    await acquired(bus, S1, worker("w2"))
    third = await acquired(bus, S1, worker("w1"))
    assert third.fence == 3
    assert not await bus.renew(first)
    await bus.release(first)
    assert await bus.renew(third)
    assert await bus.loads(WorkerId("w1")) == [1]


async def test_a_lease_that_ran_out_frees_its_slot(bus: Bus) -> None:
    old = await acquired(bus, S1, worker(slots=1), ttl_s=0)
    assert not await bus.renew(old)
    assert await bus.loads(WorkerId("w1")) == [0]
    assert (await acquired(bus, S2, worker(slots=1))).fence == 1


async def test_a_lease_that_ran_out_has_no_owner_to_renew_it(bus: Bus) -> None:
    old = await acquired(bus, S1, worker("w1"), ttl_s=0)
    again = await acquired(bus, S1, worker("w1"))
    assert again.fence > old.fence


async def test_renewing_keeps_a_lease(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker())
    assert await bus.renew(lease)
    assert await bus.renew(lease, 0)
    assert not await bus.renew(lease)


async def test_a_released_slot_is_free_and_the_fence_rises_after(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker())
    await bus.release(lease)
    await bus.release(lease)
    assert await bus.loads(WorkerId("w1")) == [0]
    assert not await bus.renew(lease)
    assert (await acquired(bus, S1, worker())).fence == lease.fence + 1


async def test_stages_of_a_session_are_leased_apart(bus: Bus) -> None:
    score = await acquired(bus, S1, worker("w1"))
    decoder = await acquired(bus, S1, worker("w2", stage="vae_decoder"))
    assert (score.fence, decoder.fence) == (1, 1)
    await bus.release(decoder)
    assert await bus.renew(score)


async def test_the_holder_of_a_lease_is_known_while_it_runs(bus: Bus) -> None:
    assert await bus.holder(S1, STAGE) is None
    lease = await acquired(bus, S1, worker("w1"))
    assert await bus.holder(S1, STAGE) == "w1"
    assert await bus.holder(S1, "gateway") is None
    await acquired(bus, S1, worker("w2"))
    assert await bus.holder(S1, STAGE) == "w2"
    await bus.release(lease)
    assert await bus.holder(S1, STAGE) == "w2"
    assert await bus.renew(await acquired(bus, S1, worker("w2")), 0)
    assert await bus.holder(S1, STAGE) is None


async def test_many_leases_are_renewed_together_and_each_has_its_own_answer(bus: Bus) -> None:
    lost = await acquired(bus, S1, worker("w1"))
    won = await acquired(bus, S1, worker("w2"))  # which takes it over
    other = await acquired(bus, S2, worker("w1", stage="gateway"))
    gone = await acquired(bus, S2, worker("w3", stage="vae_decoder"), ttl_s=0)
    leases = [lost, won, gone, other]
    assert await bus.renew_all(leases) == [False, True, False, True]
    assert await bus.renew_all([]) == []
    assert await bus.loads(WorkerId("w1"), WorkerId("w2"), WorkerId("w3")) == [1, 1, 0]
    assert await bus.renew_all(leases, 0) == [False, True, False, True]
    assert await bus.renew_all(leases) == [False] * 4
    assert await bus.loads(WorkerId("w1"), WorkerId("w2"), WorkerId("w3")) == [0, 0, 0]


async def test_a_lease_nobody_gave_is_not_renewed(bus: Bus) -> None:
    made_up = Lease(S1, STAGE, WorkerId("w1"), 1)
    assert not await bus.renew(made_up)
    await bus.release(made_up)
    assert await bus.commit(made_up, 0, b"x") == "fenced"


# The line


async def test_the_line_is_in_the_order_of_arrival(bus: Bus) -> None:
    assert [await bus.stand_in_line(ticket, 9) for ticket in "zab"] == [0, 1, 2]
    assert [await bus.stand_in_line(ticket, 9) for ticket in "baz"] == [2, 1, 0]
    assert await bus.line_length() == 3


async def test_who_leaves_the_line_moves_the_others_up(bus: Bus) -> None:
    for ticket in "abc":
        await bus.stand_in_line(ticket, 9)
    await bus.leave_line("a")
    await bus.leave_line("a")
    await bus.leave_line("never there")
    assert [await bus.stand_in_line(ticket, 9) for ticket in "cb"] == [1, 0]
    assert await bus.stand_in_line("a", 9) == 2


async def test_a_line_has_no_more_than_it_may_have(bus: Bus) -> None:
    before = await asyncio.gather(*(bus.stand_in_line(str(i), 3) for i in range(9)))
    assert sorted(place for place in before if place is not None) == [0, 1, 2]
    assert await bus.line_length() == 3
    first = before.index(0)
    assert await bus.stand_in_line(str(first), 3) == 0
    assert await bus.stand_in_line("nobody", 0) is None


async def test_who_is_not_heard_of_is_in_line_no_more(bus: Bus) -> None:
    await bus.stand_in_line("a", 9, 0)
    assert await bus.line_length() == 0
    assert await bus.stand_in_line("b", 1) == 0
    assert await bus.stand_in_line("a", 2) == 1


async def test_who_steps_aside_keeps_the_place_and_is_not_counted(bus: Bus) -> None:
    assert [await bus.stand_in_line(ticket, 9) for ticket in "abc"] == [0, 1, 2]
    assert await bus.stand_in_line("a", 9, steps_aside=True) == 0
    assert [await bus.stand_in_line(ticket, 9) for ticket in "bc"] == [0, 1]
    assert await bus.line_length() == 2
    assert await bus.stand_in_line("a", 9) == 0
    assert [await bus.stand_in_line(ticket, 9) for ticket in "bc"] == [1, 2]
    assert await bus.line_length() == 3


async def test_who_stood_aside_and_left_is_forgotten(bus: Bus) -> None:
    await bus.stand_in_line("a", 9, steps_aside=True)
    await bus.stand_in_line("gone", 9, 0, steps_aside=True)
    await bus.leave_line("a")
    assert [await bus.stand_in_line(ticket, 9) for ticket in ("b", "a", "gone", "c")] == [
        0,
        1,
        2,
        3,
    ]


# Quotas


async def test_a_quota_has_no_more_holders_than_it_may_have(bus: Bus) -> None:
    taken = await asyncio.gather(*(bus.take_share("q", str(i), 3) for i in range(9)))
    assert sum(taken) == 3
    holder = str(taken.index(True))
    assert await bus.take_share("q", holder, 3)
    assert await bus.take_share("other", "new", 1)
    await bus.give_share("q", holder)
    await bus.give_share("q", holder)
    assert await bus.take_share("q", "new", 3)
    assert not await bus.take_share("q", holder, 3)


async def test_a_share_that_nobody_keeps_becomes_free(bus: Bus) -> None:
    assert await bus.take_share("q", "gone", 1, 0)
    assert await bus.take_share("q", "new", 1)


async def test_what_is_spent_is_the_sum_of_what_each_said_last(bus: Bus) -> None:
    assert await bus.spend("q", "", 0, ttl_s=60) == 0
    assert await bus.spend("q", "a", 2.5, ttl_s=60) == 2.5
    assert await bus.spend("q", "b", 1, ttl_s=60) == 3.5
    assert await bus.spend("q", "a", 4, ttl_s=60) == 5
    assert await bus.spend("q", "a", 1, ttl_s=60) == 5  # a word that was late
    assert await bus.spend("other", "", 0, ttl_s=60) == 0


# Names


async def test_the_first_who_claims_a_name_gives_it_its_value(bus: Bus) -> None:
    assert await bus.claim("name", "mine", 60) == "mine"
    assert await bus.claim("name", "yours", 60) == "mine"
    assert await bus.claim("another", "yours", 60) == "yours"


async def test_a_name_is_given_up_by_its_value_alone(bus: Bus) -> None:
    await bus.claim("name", "mine", 60)
    await bus.disclaim("name", "yours")
    assert await bus.claim("name", "yours", 60) == "mine"
    await bus.disclaim("name", "mine")
    await bus.disclaim("name", "mine")
    assert await bus.claim("name", "yours", 60) == "yours"


async def test_a_name_is_free_again_after_its_time(bus: Bus) -> None:
    await bus.claim("name", "mine", 0.001)
    async with asyncio.timeout(10):
        while await bus.claim("name", "yours", 60) == "mine":
            await no_time(0)


# The ledger


async def test_the_first_chunk_is_seq_0(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker())
    assert await bus.commit(lease, 0, b"\x00\xff") != "fenced"
    assert await bus.replay(S1, STAGE) == [LedgerEntry(1, 0, b"\x00\xff")]


async def test_a_chunk_is_committed_once(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker())
    await bus.commit(lease, 4, b"first")
    assert await bus.commit(lease, 4, b"second") == "duplicate"
    assert await bus.commit(lease, 3, b"older") == "duplicate"
    assert await bus.replay(S1, STAGE) == [LedgerEntry(1, 4, b"first")]


async def test_a_fenced_owner_writes_nothing(bus: Bus) -> None:
    old = await acquired(bus, S1, worker("w1"))
    await bus.commit(old, 0, b"a")
    await acquired(bus, S1, worker("w2"))
    assert await bus.commit(old, 1, b"zombie") == "fenced"
    assert await seqs(bus) == [(1, 0)]


async def test_the_next_owner_goes_on_where_the_last_one_was(bus: Bus) -> None:
    old = await acquired(bus, S1, worker("w1"))
    await bus.commit(old, 0, b"a")
    await bus.commit(old, 1, b"b")
    new = await acquired(bus, S1, worker("w2"))
    assert await bus.commit(new, 1, b"b again") == "duplicate"
    await bus.commit(new, 2, b"c")
    assert await seqs(bus) == [(1, 0), (1, 1), (2, 2)]


async def test_a_lease_that_merely_ran_out_still_commits(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker(), ttl_s=0)
    assert await bus.commit(lease, 0, b"a") != "fenced"
    assert await seqs(bus) == [(lease.fence, 0)]


async def test_the_ledger_keeps_the_last_chunks(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker())
    for seq in range(LEDGER_LENGTH + 4):
        await bus.commit(lease, seq, b"%d" % seq)
    assert await seqs(bus) == [(1, seq) for seq in range(4, LEDGER_LENGTH + 4)]
    assert [entry.seq for entry in await bus.replay(S1, STAGE, 2)] == [8, 9]
    assert await bus.replay(S1, STAGE, 0) == []


async def test_ledgers_of_sessions_and_stages_are_apart(bus: Bus) -> None:
    first = await acquired(bus, S1, worker(slots=2))
    await acquired(bus, S2, worker(slots=2))
    await bus.commit(first, 0, b"a")
    assert await bus.replay(S2, STAGE) == []
    assert await bus.replay(S1, "vae_decoder") == []


async def test_a_chunk_over_the_bound_is_refused(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker())
    assert await bus.commit(lease, 0, bytes(MAX_LEDGER_ENTRY_BYTES)) != "fenced"
    with pytest.raises(errors.TooLarge, match=str(MAX_LEDGER_ENTRY_BYTES + 1)):
        await bus.commit(lease, 1, bytes(MAX_LEDGER_ENTRY_BYTES + 1))


# Control


async def test_control_is_read_from_the_first_entry_on(bus: Bus) -> None:
    posted = [Control("cancel", 1), Control("migrate"), Control("close")]
    for control in posted:
        await bus.post(S1, control)
    await bus.post(S2, Control("close", 9))
    assert await read(bus, S1, 3) == posted


async def test_control_is_read_as_it_comes(bus: Bus) -> None:
    reading = asyncio.create_task(read(bus, S1, 2))
    await bus.post(S1, Control("migrate", 1))
    await bus.post(S1, Control("close", 2))
    assert await reading == [Control("migrate", 1), Control("close", 2)]


async def test_control_has_any_number_of_readers(bus: Bus) -> None:
    reading = [asyncio.create_task(read(bus, S1, 1)) for _ in range(5)]
    await bus.post(S1, Control("close"))
    assert await asyncio.gather(*reading) == [[Control("close")]] * 5


async def test_an_epoch_rises_and_is_posted(bus: Bus) -> None:
    epochs = [await bus.raise_epoch(S1) for _ in range(3)]
    assert epochs == sorted(set(epochs))
    await bus.post(S1, Control("close"))
    controls = [control async for control in until_close(bus, S1)]
    assert set(epochs) <= {control.value for control in controls if control.kind == "epoch"}
    assert max(control.value for control in controls) == epochs[-1]


async def until_close(bus: Bus, session: SessionId) -> AsyncIterator[Control]:
    async for control in bus.control(session):
        if control.kind == "close":
            return
        yield control


async def test_closing_the_bus_ends_its_readers(bus: Bus) -> None:
    reading = asyncio.create_task(read(bus, S1, 2))
    await bus.post(S1, Control("migrate"))
    await bus.workers(STAGE)  # the reader has had its turn
    await bus.close()
    assert await reading in ([], [Control("migrate")])


async def test_a_forgotten_session_leaves_nothing(bus: Bus) -> None:
    lease = await acquired(bus, S1, worker("w1"))
    await acquired(bus, S1, worker("w2", stage="gateway"))
    await bus.commit(lease, 7, b"x")
    await bus.raise_epoch(S1)
    await bus.forget(S1)
    await bus.forget(S1)
    assert await bus.replay(S1, STAGE) == []
    assert await bus.loads(WorkerId("w1"), WorkerId("w2")) == [0, 0]
    assert not await bus.renew(lease)
    assert await bus.commit(lease, 8, b"zombie") == "fenced"
    assert await bus.replay(S1, STAGE) == []
    assert (await acquired(bus, S1, worker("w1"))).fence == 1


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_epochs_rise_by_one_from_1(kind: str, request: pytest.FixtureRequest) -> None:
    async with make_bus(kind, request.getfixturevalue) as bus:
        assert [await bus.raise_epoch(S1) for _ in range(3)] == [1, 2, 3]
        assert await bus.raise_epoch(S2) == 1
        assert await read(bus, S1, 3) == [Control("epoch", epoch) for epoch in (1, 2, 3)]


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_commit_says_what_it_did(kind: str, request: pytest.FixtureRequest) -> None:
    async with make_bus(kind, request.getfixturevalue) as bus:
        lease = await acquired(bus, S1, worker("w1"))
        assert await bus.commit(lease, 0, b"a") == "committed"
        assert await bus.commit(lease, 0, b"a") == "duplicate"
        assert await bus.commit(lease, 5, b"f") == "committed"
        await acquired(bus, S1, worker("w2"))
        assert await bus.commit(lease, 0, b"a") == "fenced"


# Faults


async def faulty(*faults: Fault | None) -> tuple[FaultyBus, MemoryBus]:
    inner = MemoryBus()
    return FaultyBus(inner, iter(faults), no_time), inner


async def test_a_lost_request_has_no_effect() -> None:
    bus, inner = await faulty(None, "drop_request")
    lease = await acquired(bus, S1, worker())
    with pytest.raises(errors.Unavailable):
        await bus.commit(lease, 0, b"a")
    assert await inner.replay(S1, STAGE) == []


async def test_a_lost_answer_has_its_effect_and_the_retry_is_a_duplicate() -> None:
    bus, inner = await faulty(None, "drop_answer", None)
    lease = await acquired(bus, S1, worker())
    with pytest.raises(errors.Unavailable):
        await bus.commit(lease, 0, b"a")
    assert await bus.commit(lease, 0, b"a") == "duplicate"
    assert len(await inner.replay(S1, STAGE)) == 1


async def test_a_duplicated_commit_stands_once() -> None:
    bus, inner = await faulty(None, "duplicate")
    lease = await acquired(bus, S1, worker())
    assert await bus.commit(lease, 0, b"a") == "duplicate"
    assert len(await inner.replay(S1, STAGE)) == 1


async def test_a_disconnect_lasts_some_calls() -> None:
    bus, _ = await faulty("disconnect")
    for _ in range(1 + OUTAGE_CALLS):
        with pytest.raises(errors.Unavailable):
            await bus.loads(WorkerId("w1"))
    assert await bus.loads(WorkerId("w1")) == [0]


async def test_a_reordered_commit_is_overtaken() -> None:
    bus, inner = await faulty(None, "reorder", None)
    lease = await acquired(bus, S1, worker())
    first, second = await asyncio.gather(bus.commit(lease, 0, b"a"), bus.commit(lease, 1, b"b"))
    assert (first, second) == ("duplicate", "committed")
    assert [entry.seq for entry in await inner.replay(S1, STAGE)] == [1]


async def test_a_reader_sees_faults_too() -> None:
    bus, inner = await faulty("duplicate", "drop_answer")
    await inner.post(S1, Control("migrate", 1))
    await inner.post(S1, Control("close", 2))
    reader = bus.control(S1)
    assert [await anext(reader), await anext(reader)] == [Control("migrate", 1)] * 2
    with pytest.raises(errors.Unavailable):
        await anext(reader)


# Redis alone


async def test_redis_keeps_no_key_of_a_forgotten_session(valkey_url: str) -> None:
    bus, session = RedisBus(valkey_url), SessionId("forgotten")
    lease = await acquired(bus, session, worker("w-forgotten"))
    await bus.commit(lease, 0, b"x")
    await bus.raise_epoch(session)
    with redis.Redis.from_url(valkey_url) as client:
        keys = client.keys("*{forgotten}*")
        assert sorted(keys) == [
            b"ctl:{forgotten}",
            b"epoch:{forgotten}",
            b"lease:{forgotten}:score_worker",
            b"led:{forgotten}:score_worker",
        ]
        assert all(client.ttl(key) > 0 for key in keys)
        await bus.forget(session)
        assert client.keys("*forgotten}*") == []
    await bus.close()


async def test_redis_itself_refuses_a_zombie(valkey_url: str) -> None:
    """Even where the lease's hash is lost, the stream knows the highest fence it has seen."""
    bus, session = RedisBus(valkey_url), SessionId("zombie")
    old = await acquired(bus, session, worker("w-z1"))
    new = await acquired(bus, session, worker("w-z2"))
    await bus.commit(new, 0, b"new")
    with redis.Redis.from_url(valkey_url) as client:
        client.hset("lease:{zombie}:score_worker", mapping={"fence": 1, "seq": -1})
    assert await bus.commit(old, 1, b"zombie") == "fenced"
    assert await bus.replay(session, STAGE) == [LedgerEntry(2, 0, b"new")]
    await bus.close()


async def test_a_cancelled_reader_ends(valkey_url: str) -> None:
    """On Python 3.11 redis-py can lose a cancellation; the reader's own client does not."""
    bus = RedisBus(valkey_url)
    readers = [asyncio.create_task(read(bus, SessionId(f"r{n}"), 1)) for n in range(40)]
    await bus.post(SessionId("r0"), Control("close"))
    assert await readers[0] == [Control("close")]
    for reader in readers:
        reader.cancel()
    _, left = await asyncio.wait(readers, timeout=10)
    assert not left
    await bus.close()


async def test_a_server_that_is_gone_is_unavailable_by_its_name() -> None:
    with run_valkey() as url:
        bus = RedisBus(url)
        lease = await acquired(bus, S1, worker())
        reading = asyncio.create_task(read(bus, S1, 1))
        await bus.workers(STAGE)
    for call in (bus.loads(WorkerId("w1")), bus.commit(lease, 0, b"a"), bus.renew(lease), reading):
        with pytest.raises(errors.Unavailable, match=r"REDIS_URL"):
            await call
    await bus.close()


async def test_a_bus_finds_its_server_again() -> None:
    with run_valkey() as url:
        bus = RedisBus(url)
        await acquired(bus, S1, worker())
        with redis.Redis.from_url(url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        assert await bus.loads(WorkerId("w1")) == [1]
        await bus.close()


async def test_a_server_that_has_lost_the_scripts_is_told_them_again(valkey_url: str) -> None:
    bus = RedisBus(valkey_url)
    lease = await acquired(bus, SessionId("scripts"), worker("w-scripts"))
    with redis.Redis.from_url(valkey_url) as client:
        client.script_flush()
    assert await bus.renew_all([lease]) == [True]
    assert await bus.loads(lease.worker) == [1]
    await bus.close()


async def test_more_leases_than_fit_into_one_trip(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatar.bus.redis.TOGETHER", 2)
    bus, info = RedisBus(valkey_url), worker("w-many", slots=9)
    leases = [await acquired(bus, SessionId(f"many-{n}"), info) for n in range(5)]
    await bus.release(leases[3])
    assert await bus.renew_all(leases) == [True, True, True, False, True]
    await bus.close()


async def test_of_a_crowd_some_find_no_turn_but_who_holds_a_lease_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("avatar.bus.redis.TURN_S", 0.05)
    with valkey_server() as valkey:
        bus = RedisBus(valkey.url)
        lease = await acquired(bus, S1, worker())
        valkey.process.send_signal(signal.SIGSTOP)  # nobody is answered
        try:
            asking = [asyncio.create_task(bus.line_length()) for _ in range(MAX_CONNECTIONS)]
            await asyncio.sleep(0)  # they have all turns
            with pytest.raises(errors.Unavailable, match="no turn within"):
                await bus.line_length()
            holding = [
                asyncio.create_task(bus.renew_all([lease])),
                asyncio.create_task(bus.advertise(worker())),
            ]
            await asyncio.sleep(0)
            monkeypatch.undo()
        finally:
            valkey.process.send_signal(signal.SIGCONT)
        assert await asyncio.gather(*holding) == [[True], None]
        await asyncio.gather(*asking, return_exceptions=True)
        assert await bus.line_length() == 0
        await bus.close()


@pytest.mark.parametrize("url", ["garbage", "http://127.0.0.1:6379", "redis://:s3#cret@h:1/0"])
def test_an_address_that_is_none_is_refused_by_the_name_of_its_variable(url: str) -> None:
    with pytest.raises(errors.InvalidInput, match=r"REDIS_URL .*redis://.*unix://") as caught:
        RedisBus(url)
    assert "s3" not in str(caught.value)


async def test_no_error_shows_the_password() -> None:
    bus = RedisBus("redis://user:s3cret@127.0.0.1:1/0")
    with pytest.raises(errors.Unavailable, match=r"redis://127\.0\.0\.1:1/0") as caught:
        await bus.loads(WorkerId("w1"))
    assert "s3cret" not in str(caught.value)
    await bus.close()


# Any order of calls, against a model


class BusMachine(RuleBasedStateMachine):
    """No acknowledged commit lost, none twice, no write of a fenced owner; slots never overbooked.

    The model is what callers were told: who owns each session by which fence, and its chunks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Fault | None] = []
        self.runner = asyncio.Runner()
        self.bus = self.runner.run(self.connected())
        self.names = [SessionId(f"m{index}") for index in range(2)]
        self.fences: dict[SessionId, int] = {}
        self.owners: dict[SessionId, Lease] = {}
        self.chunks: dict[SessionId, list[LedgerEntry]] = {}
        self.leases: list[Lease] = []

    def make_bus(self) -> Bus:
        raise NotImplementedError

    async def connected(self) -> FaultyBus:
        return FaultyBus(self.make_bus(), iter(self.next_fault, "never"), no_time)

    def next_fault(self) -> Fault | None:
        return self.pending.pop(0) if self.pending else None

    def call(self, fault: Fault | None, method: Callable[..., Any], *args: Any) -> Any:
        """The answer, asked for again and again until there is one."""
        self.pending = [fault]
        while True:
            try:
                return self.runner.run(method(*args))
            except errors.Unavailable:
                continue

    def num_leases(self, name: str) -> int:
        return sum(lease.worker == name for lease in self.owners.values())

    # With a ttl of 0 a second try is no repetition: the first lease has run out by then. Hence
    # faults only where leases last.
    @rule(
        index=st.integers(0, 1),
        name=st.sampled_from(["w1", "w2"]),
        how=st.sampled_from([(60, fault) for fault in (None, *FAULTS)] + [(0, None)] * 2),
    )
    def acquire(self, index: int, name: str, how: tuple[float, Fault | None]) -> None:
        session, (ttl_s, fault) = self.names[index], how
        owner, fence = self.owners.get(session), self.fences.get(session, 0)
        lease = self.call(fault, self.bus.acquire, session, worker(name, slots=1), ttl_s)
        if owner is not None and owner.worker == name:
            assert lease == owner
        elif self.num_leases(name) >= 1:
            assert lease is None
            return
        else:
            assert lease == Lease(session, STAGE, WorkerId(name), fence + 1)
            self.leases.append(lease)
        self.owners.pop(session, None)
        self.fences[session] = lease.fence
        if ttl_s:
            self.owners[session] = lease

    @rule(data=st.data(), fault=st.sampled_from((None, *FAULTS)))
    def renew(self, data: st.DataObject, fault: Fault | None) -> None:
        lease = self.any_lease(data)
        if lease:
            is_ours = self.owners.get(lease.session) == lease
            assert self.call(fault, self.bus.renew, lease, 60) == is_ours

    @rule(fault=st.sampled_from((None, *FAULTS)))
    def renew_all(self, fault: Fault | None) -> None:
        ours = [self.owners.get(lease.session) == lease for lease in self.leases]
        assert self.call(fault, self.bus.renew_all, self.leases, 60) == ours

    @rule(data=st.data(), fault=st.sampled_from((None, *FAULTS)))
    def release(self, data: st.DataObject, fault: Fault | None) -> None:
        lease = self.any_lease(data)
        if lease:
            self.call(fault, self.bus.release, lease)
            if self.owners.get(lease.session) == lease:
                del self.owners[lease.session]

    @rule(data=st.data(), step=st.integers(-2, 3), fault=st.sampled_from((None, *FAULTS)))
    def commit(self, data: st.DataObject, step: int, fault: Fault | None) -> None:
        lease = self.any_lease(data)
        if not lease:
            return
        chunks = self.chunks.setdefault(lease.session, [])
        last = chunks[-1].seq if chunks else -1
        seq = max(0, last + step)
        entry = LedgerEntry(lease.fence, seq, f"{lease.fence}:{seq}".encode())
        result = self.call(fault, self.bus.commit, lease, seq, entry.payload)
        if self.fences.get(lease.session) != lease.fence:
            assert result == "fenced"
        elif seq <= last:
            assert result == "duplicate"
        else:
            twice = fault in ("duplicate", "drop_answer")
            assert result == ("duplicate" if twice else "committed")
            chunks.append(entry)

    @rule(index=st.integers(0, 1), fault=st.sampled_from((None, *FAULTS)))
    def forget(self, index: int, fault: Fault | None) -> None:
        session = self.names[index]
        self.call(fault, self.bus.forget, session)
        for known in (self.fences, self.owners, self.chunks):
            known.pop(session, None)
        self.names[index] = SessionId(f"{session}x")  # ids are not used twice

    @invariant()
    def ledgers_hold_what_was_acknowledged(self) -> None:
        for session in self.names:
            expected = self.chunks.get(session, [])[-LEDGER_LENGTH:]
            assert self.call(None, self.bus.replay, session, STAGE) == expected

    @invariant()
    def slots_are_those_of_the_living_leases(self) -> None:
        for name in ("w1", "w2"):
            [load] = self.call(None, self.bus.loads, WorkerId(name))
            assert load == self.num_leases(name) <= 1

    def any_lease(self, data: st.DataObject) -> Lease | None:
        return data.draw(st.sampled_from(self.leases)) if self.leases else None

    def teardown(self) -> None:
        for session in self.names:
            self.call(None, self.bus.forget, session)
        self.runner.run(self.bus.close())
        self.runner.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_any_order_of_calls_keeps_the_promises(kind: str, valkey_url: str) -> None:
    class Machine(BusMachine):
        def make_bus(self) -> Bus:
            if kind == "memory":
                return MemoryBus()
            with redis.Redis.from_url(valkey_url) as client:
                client.flushall()
            return RedisBus(valkey_url)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60 if kind == "memory" else 20,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
