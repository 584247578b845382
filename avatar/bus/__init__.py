"""Bus: leases, control, ledger and workers; what someone who was not there must be able to read."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from avatar.media import SessionId, StageName, WorkerId

LEASE_TTL_S = 10.0
"""A starved machine renews late; who dies without a word keeps its slots for so long."""
WORKER_TTL_S = 3.0
LINE_TTL_S = 5.0
"""Who waits in line and is not heard of for so long has gone."""
LEDGER_LENGTH = 6
"""Committed chunks kept per session and stage: enough to rebuild a stage's state by replay."""
MAX_LEDGER_ENTRY_BYTES = 4 << 20


@dataclass(frozen=True)
class Lease:
    """The right of `worker` to serve `stage` of `session`; `fence` rises with each new owner."""

    session: SessionId
    stage: StageName
    worker: WorkerId
    fence: int


@dataclass(frozen=True)
class Measured:
    """What a worker found out of itself at its start.

    `cost_s` is what `together` sessions' next chunks of `chunk_s` each cost it, made in one go;
    for `sessions` sessions at once there is time.
    """

    chunk_s: float
    cost_s: float
    together: int
    sessions: int


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker says of itself in each heartbeat.

    `slots` are how many sessions it takes, `avatars` those that are in its memory; `measured` is
    None where nothing was, see services/capacity.py.
    """

    worker: WorkerId
    stage: StageName
    address: str
    slots: int
    avatars: tuple[str, ...] = ()
    draining: bool = False
    http: str = ""
    """Where a gateway answers other gateways."""
    grpc: str = ""
    """The same for gRPC: host and port."""
    measured: Measured | None = None


CommitResult = Literal["committed", "duplicate", "fenced"]
ControlKind = Literal["epoch", "cancel", "migrate", "close"]


@dataclass(frozen=True)
class Control:
    """One entry of a session's control stream; `value` is the new epoch where kind is "epoch"."""

    kind: ControlKind
    value: int = 0


@dataclass(frozen=True)
class LedgerEntry:
    """One committed chunk, as bytes of `avatar.wire`."""

    fence: int
    seq: int
    payload: bytes


class Bus(Protocol):
    """The same semantics in process and over Redis, fencing included.

    Any method raises `Unavailable` when the back end does not answer; whether the call took effect
    is then unknown, and calling again is right: everything here may be done twice. (A control
    entry may then stand there twice, and an epoch may rise by two: readers bear both.)
    """

    async def advertise(self, info: WorkerInfo, /, ttl_s: float = WORKER_TTL_S) -> None:
        """Heartbeat: the worker is listed for `ttl_s` seconds more."""
        ...

    async def withdraw(self, worker: WorkerId, /) -> None:
        """Take the worker off the list; idempotent."""
        ...

    async def workers(self, stage: StageName, /) -> list[WorkerInfo]:
        """Live workers of a stage, in a stable order."""
        ...

    async def loads(self, *workers: WorkerId) -> list[int]:
        """How many unexpired leases each of the workers holds."""
        ...

    async def holder(self, session: SessionId, stage: StageName, /) -> WorkerId | None:
        """Who holds the lease now, if anybody."""
        ...

    async def acquire(
        self, session: SessionId, worker: WorkerInfo, /, ttl_s: float = LEASE_TTL_S
    ) -> Lease | None:
        """Lease one of the worker's slots, atomically; None when all are taken.

        The fence of (session, stage) rises by one at each change of owner; acquiring again by the
        present owner renews and keeps the fence. A lease that another worker still holds is taken
        over, and its slot there becomes free: who may decide that is the session's coordinator.
        A lease that has run out, or was released, has no owner.
        """
        ...

    async def renew(self, lease: Lease, /, ttl_s: float = LEASE_TTL_S) -> bool:
        """Keep the lease; False when it is lost, whereupon its owner stops writing at once."""
        ...

    async def renew_all(self, leases: Sequence[Lease], /, ttl_s: float = LEASE_TTL_S) -> list[bool]:
        """`renew` for each, at the price of a few."""
        ...

    async def release(self, lease: Lease, /) -> None:
        """Give the slot back; a lease that is no longer ours is left alone. Idempotent."""
        ...

    async def stand_in_line(
        self, ticket: str, longest: int, /, ttl_s: float = LINE_TTL_S, *, steps_aside: bool = False
    ) -> int | None:
        """Join the line of those who wait for a session, or stay in it for `ttl_s` seconds more.

        Answers how many stand before `ticket`: 0 where it is next. None, and it does not stand
        there, where `longest` others wait already. There is one line for all gateways. Who
        `steps_aside` keeps the place, and those behind do not count it.
        """
        ...

    async def leave_line(self, ticket: str, /) -> None:
        """Give the place up; idempotent."""
        ...

    async def line_length(self) -> int:
        """How many wait, without those who stand aside."""
        ...

    async def take_share(
        self, quota: str, holder: str, most: int, /, ttl_s: float = LEASE_TTL_S
    ) -> bool:
        """Be one of at most `most` holders of a quota, or stay one for `ttl_s` seconds more.

        False, and it is none, where so many others are already.
        """
        ...

    async def give_share(self, quota: str, holder: str, /) -> None:
        """Be a holder no more; idempotent."""
        ...

    async def spend(self, quota: str, holder: str, amount: float, /, ttl_s: float) -> float:
        """Say that `holder` has spent `amount` of a quota in all; answers what everybody has.

        A holder's amount never falls. The account is kept for `ttl_s` seconds after the last word.
        """
        ...

    async def claim(self, name: str, value: str, /, ttl_s: float) -> str:
        """Give a name its value where it has none, for `ttl_s` seconds; answers the one it has."""
        ...

    async def disclaim(self, name: str, value: str, /) -> None:
        """The name has no value any more, where it had this one; idempotent."""
        ...

    async def commit(self, lease: Lease, seq: int, payload: bytes, /) -> CommitResult:
        """Append chunk `seq` to the ledger under the lease's fence.

        "duplicate": this seq, or a later one, stands there already, by this owner or one before it;
        the chunk counts as committed.
        "fenced": a newer owner holds, or has held, the lease, or the session is forgotten; drop the
        state. A lease that has merely run out still commits: nobody else can have gone on.

        Raises:
            TooLarge: `payload` is over MAX_LEDGER_ENTRY_BYTES.
        """
        ...

    async def replay(
        self, session: SessionId, stage: StageName, /, last: int = LEDGER_LENGTH
    ) -> list[LedgerEntry]:
        """The last `last` committed chunks, oldest first."""
        ...

    async def post(self, session: SessionId, control: Control, /) -> None:
        """Append to the session's control stream."""
        ...

    def control(self, session: SessionId, /) -> AsyncIterator[Control]:
        """All control entries of a session from the first on, then as they come.

        Ends when the bus is closed. After `Unavailable` ask again: it begins with the first entry.
        """
        ...

    async def raise_epoch(self, session: SessionId, /) -> int:
        """Raise the session's epoch by one, post it as control, and return it."""
        ...

    async def forget(self, session: SessionId, /) -> None:
        """Delete every key of the session; idempotent."""
        ...

    async def close(self) -> None:
        """Give up connections; idempotent."""
        ...
