"""The bus inside one process, with the semantics of Redis: fencing, expiry, bounded ledgers."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from avatar.bus import (
    LEASE_TTL_S,
    LEDGER_LENGTH,
    LINE_TTL_S,
    MAX_LEDGER_ENTRY_BYTES,
    WORKER_TTL_S,
    CommitResult,
    Control,
    Lease,
    LedgerEntry,
    WorkerInfo,
)
from avatar.errors import TooLarge
from avatar.media import SessionId, StageName, WorkerId


@dataclass
class _Session:
    """Everything of one session; `controls` are numbered so that readers survive a `forget`."""

    leases: dict[StageName, tuple[Lease, float]] = field(default_factory=dict)
    fences: dict[StageName, int] = field(default_factory=dict)
    ledgers: dict[StageName, deque[LedgerEntry]] = field(default_factory=dict)
    controls: list[tuple[int, Control]] = field(default_factory=list)
    epoch: int = 0


class MemoryBus:
    """A `Bus` in process; `clock` gives seconds and never runs backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers: dict[WorkerId, tuple[WorkerInfo, float]] = {}
        self._sessions: dict[SessionId, _Session] = {}
        self._line: dict[str, float] = {}
        self._aside: set[str] = set()
        self._shares: dict[str, dict[str, float]] = {}
        self._spent: dict[str, tuple[dict[str, float], float]] = {}
        self._claimed: dict[str, tuple[str, float]] = {}
        self._num_posted = 0
        self._posted = asyncio.Event()
        self._is_closed = False

    async def advertise(self, info: WorkerInfo, /, ttl_s: float = WORKER_TTL_S) -> None:
        self._workers[info.worker] = (info, self._clock() + ttl_s)

    async def withdraw(self, worker: WorkerId, /) -> None:
        self._workers.pop(worker, None)

    async def workers(self, stage: StageName, /) -> list[WorkerInfo]:
        now = self._clock()
        live = [info for info, expiry in self._workers.values() if expiry > now]
        return sorted((info for info in live if info.stage == stage), key=lambda info: info.worker)

    async def loads(self, *workers: WorkerId) -> list[int]:
        now = self._clock()
        counts = Counter(
            lease.worker
            for session in self._sessions.values()
            for lease, expiry in session.leases.values()
            if expiry > now
        )
        return [counts[worker] for worker in workers]

    async def holder(self, session: SessionId, stage: StageName, /) -> WorkerId | None:
        lease, expiry = self._peek(session).leases.get(stage, (None, 0.0))
        return lease.worker if lease is not None and expiry > self._clock() else None

    async def acquire(
        self, session: SessionId, worker: WorkerInfo, /, ttl_s: float = LEASE_TTL_S
    ) -> Lease | None:
        state = self._session(session)
        held = state.leases.get(worker.stage)
        if held and held[0].worker == worker.worker and await self.renew(held[0], ttl_s):
            return held[0]
        [load] = await self.loads(worker.worker)
        if load >= worker.slots:
            return None
        fence = state.fences.get(worker.stage, 0) + 1
        lease = Lease(session, worker.stage, worker.worker, fence)
        state.fences[worker.stage] = fence
        state.leases[worker.stage] = (lease, self._clock() + ttl_s)
        return lease

    async def renew(self, lease: Lease, /, ttl_s: float = LEASE_TTL_S) -> bool:
        now = self._clock()
        leases = self._peek(lease.session).leases
        held = leases.get(lease.stage)
        if held is None or held[0] != lease or held[1] <= now:
            return False
        leases[lease.stage] = (lease, now + ttl_s)
        return True

    async def renew_all(self, leases: Sequence[Lease], /, ttl_s: float = LEASE_TTL_S) -> list[bool]:
        return [await self.renew(lease, ttl_s) for lease in leases]

    async def release(self, lease: Lease, /) -> None:
        leases = self._peek(lease.session).leases
        if lease.stage in leases and leases[lease.stage][0] == lease:
            del leases[lease.stage]

    async def stand_in_line(
        self, ticket: str, longest: int, /, ttl_s: float = LINE_TTL_S, *, steps_aside: bool = False
    ) -> int | None:
        if ticket not in self._waiting() and len(self._line) >= longest:
            return None
        self._line[ticket] = self._clock() + ttl_s  # one that stands there keeps its place
        (self._aside.add if steps_aside else self._aside.discard)(ticket)
        self._aside &= self._line.keys()
        before = list(self._line)
        return sum(each not in self._aside for each in before[: before.index(ticket)])

    async def leave_line(self, ticket: str, /) -> None:
        self._line.pop(ticket, None)

    async def line_length(self) -> int:
        return len(self._waiting().keys() - self._aside)

    async def take_share(
        self, quota: str, holder: str, most: int, /, ttl_s: float = LEASE_TTL_S
    ) -> bool:
        now = self._clock()
        held = {each: end for each, end in self._shares.get(quota, {}).items() if end > now}
        self._shares[quota] = held
        if holder not in held and len(held) >= most:
            return False
        held[holder] = now + ttl_s
        return True

    async def give_share(self, quota: str, holder: str, /) -> None:
        self._shares.get(quota, {}).pop(holder, None)

    async def spend(self, quota: str, holder: str, amount: float, /, ttl_s: float) -> float:
        now = self._clock()
        self._spent = {name: each for name, each in self._spent.items() if each[1] > now}
        spent = self._spent.get(quota, ({}, 0.0))[0]
        spent[holder] = max(amount, spent.get(holder, 0.0))
        self._spent[quota] = spent, now + ttl_s
        return sum(spent.values())

    async def claim(self, name: str, value: str, /, ttl_s: float) -> str:
        now = self._clock()
        self._claimed = {each: held for each, held in self._claimed.items() if held[1] > now}
        return self._claimed.setdefault(name, (value, now + ttl_s))[0]

    async def disclaim(self, name: str, value: str, /) -> None:
        if self._claimed.get(name, ("", 0.0))[0] == value:
            del self._claimed[name]

    async def commit(self, lease: Lease, seq: int, payload: bytes, /) -> CommitResult:
        if len(payload) > MAX_LEDGER_ENTRY_BYTES:
            raise TooLarge(
                f"a ledger entry of {len(payload)} bytes, at most {MAX_LEDGER_ENTRY_BYTES} allowed"
            )
        state = self._peek(lease.session)
        if state.fences.get(lease.stage) != lease.fence:
            return "fenced"
        ledger = state.ledgers.setdefault(lease.stage, deque(maxlen=LEDGER_LENGTH))
        if ledger and ledger[-1].seq >= seq:
            return "duplicate"
        ledger.append(LedgerEntry(lease.fence, seq, payload))
        return "committed"

    async def replay(
        self, session: SessionId, stage: StageName, /, last: int = LEDGER_LENGTH
    ) -> list[LedgerEntry]:
        entries = list(self._peek(session).ledgers.get(stage, ()))
        return [replace(entry) for entry in entries[max(0, len(entries) - last) :]]

    async def post(self, session: SessionId, control: Control, /) -> None:
        self._num_posted += 1
        self._session(session).controls.append((self._num_posted, control))
        self._wake_readers()

    async def control(self, session: SessionId, /) -> AsyncIterator[Control]:
        seen = 0
        while not self._is_closed:
            posted = self._posted
            fresh = [item for item in self._peek(session).controls if item[0] > seen]
            for number, control in fresh:
                seen = number
                yield control
            if not fresh:
                await posted.wait()

    async def raise_epoch(self, session: SessionId, /) -> int:
        state = self._session(session)
        state.epoch += 1
        epoch = state.epoch
        await self.post(session, Control("epoch", epoch))
        return epoch

    async def forget(self, session: SessionId, /) -> None:
        self._sessions.pop(session, None)

    async def close(self) -> None:
        self._is_closed = True
        self._wake_readers()

    def _waiting(self) -> dict[str, float]:
        now = self._clock()
        self._line = {ticket: expiry for ticket, expiry in self._line.items() if expiry > now}
        return self._line

    def _wake_readers(self) -> None:
        # A new event each time: a reader that took the old one before looking cannot miss it.
        self._posted.set()
        self._posted = asyncio.Event()

    def _session(self, session: SessionId) -> _Session:
        return self._sessions.setdefault(session, _Session())

    def _peek(self, session: SessionId) -> _Session:
        """What is known of a session, without leaving a trace of one that is unknown."""
        return self._sessions.get(session) or _Session()
