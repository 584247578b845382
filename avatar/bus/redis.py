"""The bus over Redis or Valkey: streams, hashes and sorted sets."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final, get_args

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from avatar.bus import (
    LEASE_TTL_S,
    LEDGER_LENGTH,
    LINE_TTL_S,
    MAX_LEDGER_ENTRY_BYTES,
    WORKER_TTL_S,
    CommitResult,
    Control,
    ControlKind,
    Lease,
    LedgerEntry,
    Measured,
    WorkerInfo,
    scripts,
)
from avatar.errors import InvalidInput, TooLarge, Unavailable
from avatar.media import STAGES, SessionId, StageName, WorkerId

SESSION_TTL_S = 3600
"""Keys of a session that nobody renews, writes or forgets go by themselves after this time."""
CONTROL_LENGTH = 1000
MAX_CONNECTIONS = 10
KEPT_FREE = 2
"""Of these, for heartbeats and renewals."""
ANSWER_S = 2.0
"""Longer without an answer, and Redis counts as unreachable."""
TURN_S = 5.0
"""Longest wait for one of the connections."""
BLOCK_MS = 1000
TOGETHER = 200
"""Leases renewed in one trip: a few milliseconds of the server's time."""
LINE_KEYS = ["line:{open}:order", "line:{open}:expiry", "line:{open}:number", "line:{open}:aside"]

UNREACHABLE: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    OSError,
)
RESULTS: Final[dict[str, CommitResult]] = {result: result for result in get_args(CommitResult)}
CONTROL_KINDS: Final[dict[str, ControlKind]] = {kind: kind for kind in get_args(ControlKind)}


class RedisBus:
    """A `Bus` over the server at `url`; connects at first use.

    Raises `InvalidInput` if `url` is no such address.

    Keys name the session in a hash tag and no script touches two tags, so that a cluster may
    spread sessions: lease:{sid}:<stage> (hash: fence, worker, expiry, seq), led:{sid}:<stage> and
    ctl:{sid} (streams), epoch:{sid}; workers:<stage> (hash: expiry and heartbeat), slots:<id>
    (sorted set of leases by expiry); line:{open}:… (who waits, in order and by
    expiry, and who stands aside); share:<quota> (sorted set of holders by
    expiry), spent:<quota> (hash: what each holder spent); claim:<name>.
    """

    def __init__(self, url: str) -> None:
        self._name = _without_password(url)
        self._is_closed = False
        # First come, first served. The pool's own queue lets who has just come overtake who waits:
        # of a hundred callers some waited for seconds. With turns it never has to.
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS - KEPT_FREE)
        # Who holds something does not wait behind a crowd of those who want it.
        self._holders = asyncio.Semaphore(KEPT_FREE)
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=ANSWER_S,
                socket_timeout=ANSWER_S,
                socket_connect_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 1),  # hides a connection that went stale
            )
        except ValueError as error:  # not shown, nor is the URL: there may be a password in it
            raise InvalidInput(
                "REDIS_URL is no address of a Redis: it looks like "
                "redis://user:password@host:6379/0, rediss://host:6379/0 or unix:///path/to.sock"
            ) from error
        # Any: redis-py's reply types cover every mode of its clients at once.
        self._redis: Any = Redis.from_pool(pool)
        # Readers that block have a client of their own without socket_timeout: that timeout breaks
        # BLOCK, and on Python 3.11 the wait_for behind it can swallow a cancellation.
        self._readers: Any = Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
        register = self._redis.register_script
        self._advertise = register(scripts.ADVERTISE)
        self._live_workers = register(scripts.LIVE_WORKERS)
        self._look, self._take = register(scripts.LOOK), register(scripts.TAKE)
        self._renew, self._release = register(scripts.RENEW), register(scripts.RELEASE)
        self._reserve_slot = register(scripts.RESERVE_SLOT)
        self._keep_slot = register(scripts.KEEP_SLOT)
        self._count_live = register(scripts.COUNT_LIVE)
        self._commit, self._post = register(scripts.COMMIT), register(scripts.POST)
        self._forget = register(scripts.FORGET)
        self._stand_in_line = register(scripts.STAND_IN_LINE)
        self._count_line = register(scripts.COUNT_LINE)
        self._spend = register(scripts.SPEND)
        self._disclaim = register(scripts.DISCLAIM)

    async def advertise(self, info: WorkerInfo, /, ttl_s: float = WORKER_TTL_S) -> None:
        said = json.dumps(asdict(info))
        args: list[str | int] = [info.worker, said, _ms(ttl_s), SESSION_TTL_S]
        async with self._reachable(self._holders):
            await self._advertise(keys=[_workers_key(info.stage)], args=args)

    async def withdraw(self, worker: WorkerId, /) -> None:
        async with self._reachable():
            for stage in STAGES:
                await self._redis.hdel(_workers_key(stage), worker)

    async def workers(self, stage: StageName, /) -> list[WorkerInfo]:
        async with self._reachable():
            live = await self._live_workers(keys=[_workers_key(stage)])
        return sorted(map(_worker, live), key=lambda info: info.worker)

    async def loads(self, *workers: WorkerId) -> list[int]:
        async with self._reachable():
            counts = await self._run_each(self._count_live, [[_slots_key(it)] for it in workers])
        return [int(count) for count in counts]

    async def holder(self, session: SessionId, stage: StageName, /) -> WorkerId | None:
        async with self._reachable():
            _, owner, is_live = await self._look(keys=_session_keys(session, stage)[:1])
        return WorkerId(owner.decode()) if is_live else None

    async def acquire(
        self, session: SessionId, worker: WorkerInfo, /, ttl_s: float = LEASE_TTL_S
    ) -> Lease | None:
        # Slots and session lie under different hash tags, hence two steps. The slot comes first,
        # and is reserved for the very fence that is taken next: slots are never overbooked, and
        # what a crash leaves half done runs out with its ttl.
        keys = _session_keys(session, worker.stage)
        while True:
            async with self._reachable():
                fence, owner, is_live = await self._look(keys=keys[:1])
            before = Lease(session, worker.stage, WorkerId(owner.decode()), int(fence))
            if is_live and before.worker == worker.worker and await self.renew(before, ttl_s):
                return before
            lease = Lease(session, worker.stage, worker.worker, before.fence + 1)
            async with self._reachable():
                reserved = await self._reserve_slot(
                    keys=[_slots_key(worker.worker)],
                    args=[_slot(lease), worker.slots, _ms(ttl_s), SESSION_TTL_S],
                )
                if not reserved:
                    return None
                is_ours = await self._take(
                    keys=keys, args=[SESSION_TTL_S, lease.fence, lease.worker, _ms(ttl_s)]
                )
                await self._free_slot(before if is_ours else lease)
            if is_ours:
                return lease

    async def renew(self, lease: Lease, /, ttl_s: float = LEASE_TTL_S) -> bool:
        async with self._reachable():
            return lease in await self._renew_some([lease], ttl_s)

    async def renew_all(self, leases: Sequence[Lease], /, ttl_s: float = LEASE_TTL_S) -> list[bool]:
        kept: set[Lease] = set()
        for start in range(0, len(leases), TOGETHER):
            async with self._reachable(self._holders):
                kept |= await self._renew_some(leases[start : start + TOGETHER], ttl_s)
        return [lease in kept for lease in leases]

    async def _renew_some(self, leases: Sequence[Lease], ttl_s: float) -> set[Lease]:
        # The slots first: they run out first, and another lease may then have one.
        slots = await self._run_each(
            self._keep_slot,
            [[_slots_key(lease.worker)] for lease in leases],
            [[_slot(lease), _ms(ttl_s), SESSION_TTL_S] for lease in leases],
        )
        leases = [lease for lease, is_kept in zip(leases, slots, strict=True) if is_kept]
        renewed = await self._run_each(
            self._renew,
            [_session_keys(lease.session, lease.stage) for lease in leases],
            [[SESSION_TTL_S, lease.fence, lease.worker, _ms(ttl_s)] for lease in leases],
        )
        kept = {lease for lease, is_renewed in zip(leases, renewed, strict=True) if is_renewed}
        for lease in leases:
            if lease not in kept:
                await self._free_slot(lease)
        return kept

    async def release(self, lease: Lease, /) -> None:
        async with self._reachable():
            key = _session_keys(lease.session, lease.stage)[0]
            await self._release(keys=[key], args=[lease.fence, lease.worker])
            await self._free_slot(lease)

    async def stand_in_line(
        self, ticket: str, longest: int, /, ttl_s: float = LINE_TTL_S, *, steps_aside: bool = False
    ) -> int | None:
        args: list[str | int] = [ticket, longest, _ms(ttl_s), SESSION_TTL_S, int(steps_aside)]
        async with self._reachable():
            before = int(await self._stand_in_line(keys=LINE_KEYS, args=args))
        return before if before >= 0 else None

    async def leave_line(self, ticket: str, /) -> None:
        async with self._reachable():
            for key in LINE_KEYS[:2]:
                await self._redis.zrem(key, ticket)
            await self._redis.srem(LINE_KEYS[3], ticket)

    async def line_length(self) -> int:
        async with self._reachable():
            return int(await self._count_line(keys=[LINE_KEYS[1], LINE_KEYS[3]]))

    async def take_share(
        self, quota: str, holder: str, most: int, /, ttl_s: float = LEASE_TTL_S
    ) -> bool:
        async with self._reachable():
            taken = await self._reserve_slot(
                keys=[f"share:{quota}"], args=[holder, most, _ms(ttl_s), SESSION_TTL_S]
            )
        return bool(taken)

    async def give_share(self, quota: str, holder: str, /) -> None:
        async with self._reachable():
            await self._redis.zrem(f"share:{quota}", holder)

    async def spend(self, quota: str, holder: str, amount: float, /, ttl_s: float) -> float:
        async with self._reachable():
            spent = await self._spend(
                keys=[f"spent:{quota}"], args=[holder, amount, max(1, _ms(ttl_s))]
            )
        return float(spent)

    async def claim(self, name: str, value: str, /, ttl_s: float) -> str:
        async with self._reachable():
            held = await self._redis.set(
                f"claim:{name}", value, nx=True, get=True, px=max(1, _ms(ttl_s))
            )
        return value if held is None else str(held.decode())

    async def disclaim(self, name: str, value: str, /) -> None:
        async with self._reachable():
            await self._disclaim(keys=[f"claim:{name}"], args=[value])

    async def commit(self, lease: Lease, seq: int, payload: bytes, /) -> CommitResult:
        if len(payload) > MAX_LEDGER_ENTRY_BYTES:
            raise TooLarge(
                f"a ledger entry of {len(payload)} bytes, at most {MAX_LEDGER_ENTRY_BYTES} allowed"
            )
        entry_id = f"{lease.fence}-{seq + 1}"
        async with self._reachable():
            result = await self._commit(
                keys=_session_keys(lease.session, lease.stage)[:2],
                args=[SESSION_TTL_S, lease.fence, seq, entry_id, LEDGER_LENGTH, payload],
            )
        return RESULTS[result.decode()]

    async def replay(
        self, session: SessionId, stage: StageName, /, last: int = LEDGER_LENGTH
    ) -> list[LedgerEntry]:
        if last < 1:
            return []
        async with self._reachable():
            newest_first = await self._redis.xrevrange(_session_keys(session, stage)[1], count=last)
        entries = []
        for entry_id, fields in reversed(newest_first):
            fence, seq_plus_one = entry_id.decode().split("-")
            entries.append(LedgerEntry(int(fence), int(seq_plus_one) - 1, fields[b"payload"]))
        return entries

    async def post(self, session: SessionId, control: Control, /) -> None:
        await self._append(session, control.kind, str(control.value))

    async def raise_epoch(self, session: SessionId, /) -> int:
        return await self._append(session, "epoch", "")

    async def control(self, session: SessionId, /) -> AsyncIterator[Control]:
        key, seen = _session_keys(session, STAGES[0])[2], b"0"
        while not self._is_closed:
            try:
                with self._errors():
                    streams = await self._readers.xread({key: seen}, block=BLOCK_MS)
            except Unavailable:
                if self._is_closed:  # close() cut the connection that we were blocked on
                    return
                raise
            for _, entries in streams or ():
                for entry_id, fields in entries:
                    seen = entry_id
                    kind = CONTROL_KINDS[fields[b"kind"].decode()]
                    yield Control(kind, int(fields[b"value"]))

    async def forget(self, session: SessionId, /) -> None:
        keys = [_session_keys(session, stage) for stage in STAGES]
        leases, ledgers = [four[0] for four in keys], [four[1] for four in keys]
        async with self._reachable():
            held = await self._forget(keys=leases + ledgers + keys[0][2:], args=[len(leases)])
            for stage, (fence, worker) in zip(STAGES, held, strict=True):
                if worker:
                    owner = WorkerId(worker.decode())
                    await self._free_slot(Lease(session, stage, owner, int(fence)))

    async def close(self) -> None:
        self._is_closed = True
        await self._redis.aclose()
        await self._readers.aclose()

    async def _append(self, session: SessionId, kind: ControlKind, value: str) -> int:
        keys = _session_keys(session, STAGES[0])[2:]
        async with self._reachable():
            args = [SESSION_TTL_S, CONTROL_LENGTH, kind, value]
            return int(await self._post(keys=keys, args=args))

    async def _run_each(
        self, script: Any, keys: Sequence[list[str]], args: Sequence[list[Any]] = ()
    ) -> list[Any]:
        """Run a script once for each, in one trip; alone, each has the keys a cluster wants."""
        if not keys:
            return []
        while True:
            # not as `script(client=pipeline)`: that asks each time whether the server knows it
            async with self._redis.pipeline(transaction=False) as asking:
                for its_keys, its_args in zip(keys, args or [[]] * len(keys), strict=True):
                    asking.evalsha(script.sha, len(its_keys), *its_keys, *its_args)
                try:
                    answers: list[Any] = await asking.execute()
                    return answers
                except exceptions.NoScriptError:  # a new server; what ran may run again
                    await self._redis.script_load(script.script)

    async def _free_slot(self, lease: Lease) -> None:
        if lease.worker:
            await self._redis.zrem(_slots_key(lease.worker), _slot(lease))

    @asynccontextmanager
    async def _reachable(self, turns: asyncio.Semaphore | None = None) -> AsyncIterator[None]:
        """A connection's worth of commands, one after the other, in its turn."""
        turns = turns or self._turns
        try:
            async with asyncio.timeout(TURN_S):
                await turns.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"Redis at {self._name} is too slow for what is asked of it: no turn within "
                f"{TURN_S:g} s; give it and this process more processor time"
            ) from error
        try:
            with self._errors():
                yield
        finally:
            turns.release()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UNREACHABLE as error:
            raise Unavailable(
                f"Redis at {self._name} does not answer ({error}); "
                "start it there or set REDIS_URL to one that runs"
            ) from error


def _session_keys(session: SessionId, stage: StageName) -> list[str]:
    """The lease and the ledger of the stage, the session's control stream and its epoch."""
    tag = f"{{{session}}}"
    return [f"lease:{tag}:{stage}", f"led:{tag}:{stage}", f"ctl:{tag}", f"epoch:{tag}"]


def _workers_key(stage: StageName) -> str:
    return f"workers:{stage}"


def _slots_key(worker: WorkerId) -> str:
    return f"slots:{worker}"


def _slot(lease: Lease) -> str:
    return f"{lease.session}:{lease.stage}:{lease.fence}"


@lru_cache(4096)  # who lists a pool each second reads the same again and again
def _worker(content: bytes) -> WorkerInfo:
    fields = json.loads(content)
    fields["avatars"] = tuple(fields["avatars"])
    if (measured := fields.get("measured")) is not None:
        fields["measured"] = Measured(**measured)
    return WorkerInfo(**fields)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
