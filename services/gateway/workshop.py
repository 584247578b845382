"""Avatars that are made here: one at a time on all gateways, in a process of its own."""

import asyncio
import json
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from avatar.bus import Bus
from avatar.cast.avatars import home, is_shipped, own_names
from avatar.errors import AvatarError, Busy, InvalidInput, NotFound, PermissionDenied, TooLarge
from avatar.media import WorkerId
from avatar.telemetry.logging import get_logger
from services.gateway.recipes import Order, Recipes, Source, order_of

log = get_logger(__name__)

State = Literal["running", "done", "failed", "cancelled"]

MAKING: Final = ".making"
"""Folder beside the avatars; no avatar can be called so."""
SHARE: Final = "avatars-made"
SHARE_TTL_S: Final = 30.0
CHECK_S: Final = 120.0
RETRY_S: Final = 30.0
STOP_S: Final = 10.0
MAX_REMEMBERED: Final = 64
MAX_OWN: Final = 200
MAX_RUNS: Final = 4
"""Unfinished ones whose work is kept."""
NICENESS: Final = 10
"""Calls come first."""
MAX_LINE_BYTES: Final = 64 << 10


@dataclass(frozen=True)
class Operation:
    """An avatar that is being made, or was; `done` is a share, `left_s` None until it is known."""

    id: str
    avatar: str
    created: datetime
    state: State = "running"
    stage: str = "starting"
    done: float = 0.0
    left_s: float | None = None
    error_reason: str = ""
    error_message: str = ""

    def describe(self) -> dict[str, object]:
        """As JSON has it."""
        return {**asdict(self), "created": self.created.isoformat(timespec="seconds")}


class _Work:
    """One operation: its newest state, and who waits for a newer one."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.task: asyncio.Task[None] | None = None
        self.is_cancelled = False
        self.news = asyncio.Event()
        """Set when the operation is no longer the newest."""

    def tell(self, **changes: Any) -> None:
        self.operation = replace(self.operation, **changes)
        self.news.set()
        self.news = asyncio.Event()


class Workshop:
    """Makes avatars into the folder where serving looks for them."""

    def __init__(
        self,
        bus: Bus,
        worker: WorkerId,
        avatars: Path,
        profile: str,
        recipes: Recipes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus = bus
        self._worker = worker
        self._avatars = avatars
        self._profile = profile
        self.recipes = recipes
        self._now = now
        self._works: dict[str, _Work] = {}

    async def create(self, source: Source) -> Operation:
        """Begin to make an avatar.

        Raises:
            NotOffered: The profile makes none from that.
            InvalidInput: Something is wrong with it.
            Busy: Another one is being made.
        """
        order = await asyncio.to_thread(order_of, source, self._profile, self.recipes)
        names = own_names(self._avatars)
        if order.avatar not in names and len(names) >= MAX_OWN:
            raise TooLarge(f"there are {len(names)} avatars already, as many as may be; remove one")
        id = f"{uuid.uuid4().hex[:12]}.{self._worker}"
        if not await self._bus.take_share(SHARE, id, 1, SHARE_TTL_S):
            raise Busy("another avatar is being made; one is made at a time", RETRY_S)
        try:
            path = await asyncio.to_thread(self._write, order)
            try:
                await self._check(order, path)
            except BaseException:
                _forget(path)
                raise
        except BaseException:
            await self._bus.give_share(SHARE, id)
            raise
        work = _Work(Operation(id, order.avatar, self._now()))
        self._works[id] = work
        self._forget_oldest()
        work.task = asyncio.create_task(self._run(work, order, path))
        log.info("avatar_begun", avatar=order.avatar, operation=id)
        return work.operation

    def get(self, id: str) -> Operation:
        """Raises NotFound where nothing is known of it."""
        return self._work(id).operation

    def all(self) -> list[Operation]:
        """The newest first."""
        return [work.operation for work in reversed(self._works.values())]

    async def watch(self, id: str) -> AsyncIterator[Operation]:
        """How it stands, whenever that changes, until it is over."""
        work = self._work(id)
        while True:
            news, operation = work.news, work.operation
            yield operation
            if operation.state != "running":
                return
            await news.wait()

    async def cancel(self, id: str) -> Operation:
        """Stop it; what is done is kept. One that is over stays as it is."""
        work = self._work(id)
        if work.task is not None and not work.task.done():
            work.is_cancelled = True
            work.task.cancel()
            await asyncio.wait({work.task})
        return work.operation

    async def delete(self, avatar: str) -> None:
        """Remove an avatar that was made here.

        Raises:
            PermissionDenied: It comes with the server.
            NotFound: There is none.
            Busy: It is being made.
        """
        if is_shipped(avatar):
            raise PermissionDenied(f"{avatar} comes with the server and stays")
        if avatar not in own_names(self._avatars):
            raise NotFound(f"no avatar of this server's own is called {avatar[:64]!r}")
        if any(each.avatar == avatar and each.state == "running" for each in self.all()):
            raise Busy(f"{avatar} is being made; cancel that first", RETRY_S)
        place = home(self._avatars) / avatar
        going = place.with_name(f".{avatar}.going")

        def remove() -> None:
            shutil.rmtree(going, ignore_errors=True)
            place.rename(going)  # gone at once for those who look
            shutil.rmtree(going, ignore_errors=True)

        await asyncio.to_thread(remove)
        log.info("avatar_removed", avatar=avatar)

    async def close(self) -> None:
        """Stop all; idempotent."""
        for id in list(self._works):
            await self.cancel(id)

    def _work(self, id: str) -> _Work:
        work = self._works.get(id)
        if work is None:
            raise NotFound(
                f"no operation is called {id[:64]!r}, or its gateway has ended: send the same "
                "request again, and it goes on from where it was"
            )
        return work

    def _forget_oldest(self) -> None:
        over = [id for id, work in self._works.items() if work.operation.state != "running"]
        for id in over[: max(0, len(self._works) - MAX_REMEMBERED)]:
            del self._works[id]

    def _write(self, order: Order) -> Path:
        folder = home(self._avatars) / MAKING
        folder.mkdir(parents=True, exist_ok=True)
        runs = [each for each in (folder / "runs").glob("*/") if each.name != order.avatar]
        for old in sorted(runs, key=lambda each: each.stat().st_mtime)[: -MAX_RUNS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        path = folder / order.name
        path.write_bytes(order.content)
        if order.said is not None:
            said = {**order.said, "recorded": self._now().isoformat(timespec="seconds")}
            path.with_suffix(".json").write_text(
                json.dumps(said, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
            )
        return path

    async def _check(self, order: Order, path: Path) -> None:
        process = await _started(order.recipe.check(path))
        try:
            async with asyncio.timeout(CHECK_S):
                error = await _followed(process, lambda _: None)
        except TimeoutError as late:
            raise AvatarError("what was sent could not be checked in time") from late
        finally:
            await _stopped(process)
        if error is not None:
            raise InvalidInput(error[1].replace(str(path), path.name))

    async def _run(self, work: _Work, order: Order, path: Path) -> None:
        keeping = asyncio.create_task(self._keep_share(work.operation.id))
        end: dict[str, Any] = {"state": "cancelled"}
        try:
            end = await self._make(work, order, path)
        except asyncio.CancelledError:
            if not work.is_cancelled:
                raise
        except AvatarError as error:
            end = _failure(error.reason, str(error))
        except Exception:  # the border: the operation fails, the gateway goes on
            log.exception("avatar_failed", avatar=order.avatar)
            end = _failure("INTERNAL", "the server failed on this; its log says why")
        finally:
            keeping.cancel()
            _forget(path)
            with suppress(AvatarError, OSError):  # it runs out by itself
                await self._bus.give_share(SHARE, work.operation.id)
            work.tell(**end)
            log.info("avatar_over", avatar=order.avatar, state=work.operation.state)

    async def _make(self, work: _Work, order: Order, path: Path) -> dict[str, Any]:
        """Have it made; what the operation is in the end."""
        runs = path.parent / "runs"
        process = await _started(order.recipe.make(path, runs, home(self._avatars)))
        secret = f"{home(self._avatars)}/"  # where files are is not for callers

        def tell(news: dict[str, Any]) -> None:
            _tell(work, {**news, "line": str(news.get("line", "")).replace(secret, "")})

        try:
            error = await _followed(process, tell)
        finally:
            await asyncio.shield(_stopped(process))
        if error is not None:
            return _failure(error[0], error[1].replace(secret, ""))
        await asyncio.to_thread(shutil.rmtree, runs / order.avatar, ignore_errors=True)
        return {"state": "done", "stage": "ready", "done": 1.0, "left_s": 0.0}

    async def _keep_share(self, id: str) -> None:
        while True:
            await asyncio.sleep(SHARE_TTL_S / 3)
            with suppress(AvatarError, OSError):
                await self._bus.take_share(SHARE, id, 1, SHARE_TTL_S)


def _forget(path: Path) -> None:
    """Remove what was sent: who wants to go on sends it again, and nobody's photograph is kept."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)


def worker_of(operation: str) -> WorkerId:
    """The gateway that makes it."""
    return WorkerId(operation.partition(".")[2])


def _failure(reason: str, message: str) -> dict[str, Any]:
    return {"state": "failed", "error_reason": reason, "error_message": message}


def _tell(work: _Work, news: dict[str, Any]) -> None:
    done, left_s = news.get("done"), news.get("left_s")
    work.tell(
        stage=str(news["line"])[:200],
        done=max(work.operation.done, min(1.0, float(done or 0.0))),
        left_s=None if left_s is None else float(left_s),
    )


async def _started(command: list[str]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
    )
    with suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    return process


async def _followed(
    process: asyncio.subprocess.Process, tell: Callable[[dict[str, Any]], None]
) -> tuple[str, str] | None:
    """Its news, until it ends; the reason and message of its failure, or None."""
    assert process.stdout is not None
    error: tuple[str, str] | None = None
    async for line in process.stdout:
        try:
            news = json.loads(line)
        except ValueError:
            continue  # not meant for us
        if not isinstance(news, dict):
            continue
        if isinstance(failed := news.get("error"), dict):
            error = str(failed.get("reason", "INTERNAL")), str(failed.get("message", ""))[:500]
        elif "line" in news:
            tell(news)
    if await process.wait() == 0:
        return None
    return error or ("INTERNAL", f"the command ended with status {process.returncode}")


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
