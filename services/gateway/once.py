"""Sessions that are asked for twice and opened once: the Idempotency-Key header.

As draft-ietf-httpapi-idempotency-key-header-07 has it. Who asks again gets the session that was
opened, with a new token: the first one may have been lost, or read by somebody else.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from avatar.bus import Bus
from avatar.errors import InvalidInput, KeyReused, NotFound
from avatar.media import WorkerId
from services.gateway.admission import Place, Tell
from services.gateway.call import Call
from services.gateway.keyring import Caller

HEADER: Final = "idempotency-key"
MAX_CHARACTERS: Final = 255
KEPT_S: Final = 600.0
"""How long a request may be repeated."""
MAX_KEPT: Final = 1024

Open = Callable[[Tell | None], Awaitable[tuple[Call, str]]]


@dataclass(eq=False)
class _Opening:
    """One session that is being opened, or was; `tells` are those who ask for it now."""

    asked: str
    task: "asyncio.Task[tuple[Call, str]]" = field(init=False)
    tells: list[Tell] = field(default_factory=list)
    num_asking: int = 0

    async def tell(self, place: Place) -> None:
        for each in list(self.tells):
            await each(place)

    @property
    def call(self) -> Call | None:
        """What was opened, if it was."""
        is_open = self.task.done() and not self.task.cancelled() and not self.task.exception()
        return self.task.result()[0] if is_open else None


@dataclass(frozen=True)
class _Past:
    """One session that took place: why it is over."""

    asked: str
    ended: str


class Once:
    """Knows of each key which gateway opens its session; this one's are here."""

    def __init__(self, bus: Bus, worker: WorkerId, renew: Callable[[Call], str]) -> None:
        """`renew` makes a new token of a call."""
        self._bus = bus
        self.worker = worker
        self._renew = renew
        self._known: dict[str, _Opening | _Past] = {}

    async def owner(self, name: str) -> WorkerId:
        """The gateway to ask about a name; this one, where nobody knows the name yet."""
        return WorkerId(await self._bus.claim(name, self.worker, KEPT_S))

    async def forget(self, name: str, worker: WorkerId) -> None:
        """That gateway is gone, and its sessions are."""
        await self._bus.disclaim(name, worker)

    async def open(
        self, name: str, asked: str, open_call: Open, tell: Tell | None
    ) -> tuple[Call, str]:
        """The session of a name and its token, opened now or before.

        Args:
            name: From `name_of`.
            asked: The request in full.
            open_call: Opens the session; given to `tell` what becomes of a place in line.
            tell: Hears of the place in line; without it nobody waits.

        Raises:
            KeyReused: The name came before with another request.
            NotFound: The session has ended since.
            AvatarError: It was not opened; the next one who asks tries anew.
        """
        self._let_go()
        known = self._known.get(name)
        if known is not None and known.asked != asked:
            raise KeyReused("this idempotency key came with another request; send a new key")
        if isinstance(known, _Past):
            raise NotFound(
                f"the session of this key has ended: {known.ended}; send a new key to open another"
            )
        if known is None:
            known = self._begin(name, asked, open_call, tell)
        elif (call := known.call) is not None:
            return call, self._renew(call)
        return await self._join(known, tell)

    def _begin(self, name: str, asked: str, open_call: Open, tell: Tell | None) -> _Opening:
        opening = _Opening(asked)

        async def run() -> tuple[Call, str]:
            return await open_call(opening.tell if tell is not None else None)

        def settled(task: "asyncio.Task[tuple[Call, str]]") -> None:
            failed = task.cancelled() or task.exception() is not None
            if failed and self._known.get(name) is opening:
                del self._known[name]

        self._known[name] = opening
        opening.task = asyncio.create_task(run())
        opening.task.add_done_callback(settled)
        return opening

    async def _join(self, opening: _Opening, tell: Tell | None) -> tuple[Call, str]:
        opening.num_asking += 1
        if tell is not None:
            opening.tells.append(tell)
        is_first = opening.num_asking == 1
        try:
            call, token = await asyncio.shield(opening.task)
            return call, token if is_first else self._renew(call)
        except asyncio.CancelledError:
            if opening.num_asking == 1 and not opening.task.done():
                self._known = {n: each for n, each in self._known.items() if each is not opening}
                opening.task.cancel()  # nobody else asks: the place in line is given up
            raise
        finally:
            opening.num_asking -= 1
            if tell is not None:
                opening.tells.remove(tell)

    def _let_go(self) -> None:
        """Of calls that are over their end is kept, and not the call; of the oldest nothing."""
        for name, known in list(self._known.items()):
            call = known.call if isinstance(known, _Opening) else None
            if call is not None and call.is_over:
                if call.was_connected:
                    self._known[name] = _Past(known.asked, call.live.ended)
                else:  # it ended because nobody heard of it
                    del self._known[name]
        for name, known in list(self._known.items())[:-MAX_KEPT]:
            if isinstance(known, _Past) or known.task.done():
                del self._known[name]


def name_of(caller: Caller, key: str) -> str:
    """What a key is called on the bus: nobody's keys meet another's, nor can be read there.

    Raises:
        InvalidInput: It is no key.
    """
    if not key or len(key) > MAX_CHARACTERS or not key.isascii() or not key.isprintable():
        raise InvalidInput(
            f"Idempotency-Key takes 1 to {MAX_CHARACTERS} printable ASCII characters, such as a "
            "UUID of your own"
        )
    return "once:" + hashlib.sha256(f"{caller.key}\n{key}".encode()).hexdigest()
