"""A session that is being opened, watched by who asks for it: its place in line, then the call."""

import asyncio
from collections.abc import Awaitable, Callable

from services.gateway.admission import Place, Tell
from services.gateway.call import Call

Open = Callable[[Tell], Awaitable[tuple[Call, str]]]


class Opening:
    """Begins at once; who asked takes one piece of news after the other."""

    def __init__(self, open_call: Open) -> None:
        self._places: asyncio.Queue[Place] = asyncio.Queue()
        self._task = asyncio.ensure_future(open_call(self._places.put))

    async def next(self) -> Place | None:
        """The next news of the place in line; None when there is a call, or will be none."""
        getting = asyncio.create_task(self._places.get())
        try:
            await asyncio.wait({getting, self._task}, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    def call(self) -> tuple[Call, str]:
        """What was opened, and its token; raises what went wrong."""
        return self._task.result()

    def abandon(self) -> None:
        """Nobody wants it any more."""
        if not self._task.done():
            self._task.cancel()
        elif not self._task.cancelled() and self._task.exception() is None:
            self._task.result()[0].end("hung_up")
