"""One connection of a live session: a Talk call, which can be lost."""

import asyncio
import math
from typing import Any, Final

import grpc

from talkingmachines._cancelled import is_being_cancelled
from talkingmachines._errors import ConnectionLost
from talkingmachines_api.v1 import live_pb2

SILENCE_S: Final = 15.0
"""A server sends sound every 20 ms; one that sends nothing for so long hangs."""


class LinkLost(Exception):
    """This connection is gone; the session may go on with another one."""


class Link:
    """Writes to a Talk call and reads from it; counts what reply audio may be sent on it."""

    def __init__(self, call: Any, silence_s: float = SILENCE_S) -> None:
        """`call` is a grpc.aio.StreamStreamCall."""
        self._call = call
        self._silence_s = silence_s
        self._writing = asyncio.Lock()  # gRPC takes one message at a time
        self._granted_ms = 0
        self._sent_ms = 0
        self._is_lost = False
        self._news = asyncio.Event()

    async def read(self) -> live_pb2.TalkResponse | None:
        """The next message; None when the server has ended the call in order.

        Raises:
            grpc.RpcError: It has ended otherwise.
            ConnectionLost: The client was closed, or the server says nothing any more.
        """
        try:
            async with asyncio.timeout(self._silence_s):
                message = await self._call.read()
        except TimeoutError:
            raise ConnectionLost(
                f"The server has sent nothing for {self._silence_s:g} s: see its log."
            ) from None
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise ConnectionLost("The client was closed while the session went on.") from None
        is_end = message is grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
        return None if is_end else message

    async def write(self, message: live_pb2.TalkRequest) -> None:
        """Returns when the connection has room for more.

        Raises:
            LinkLost: It is gone, and the message with it.
        """
        try:
            async with self._writing:
                await self._call.write(message)
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise LinkLost from None
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise LinkLost from error

    def grant(self, total_ms: int) -> None:
        """So much reply audio may be sent since the call began."""
        self._granted_ms = max(self._granted_ms, total_ms)
        self._news.set()

    async def pay(self, seconds: float) -> None:
        """Returns when so much more reply audio may be sent.

        Raises:
            LinkLost: The connection is gone.
        """
        cost_ms = math.ceil(round(seconds * 1000, 6))
        while self._sent_ms + cost_ms > self._granted_ms:
            if self._is_lost:
                raise LinkLost
            self._news.clear()
            await self._news.wait()
        self._sent_ms += cost_ms

    def lose(self) -> None:
        """Ends the call, for whoever waits for it too; a second time does nothing."""
        self._is_lost = True
        self._news.set()
        self._call.cancel()
