"""Channel: how chunks move from one stage to the next; one contract, several back ends."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from avatar.media import Chunk, SessionId, StageName

MAX_CREDIT = 2
"""Chunks a producer may have in flight on one edge; with none left it waits."""


@dataclass(frozen=True)
class Hop:
    """One further stage on a session's route: where it listens and the fence of its lease."""

    stage: StageName
    address: str
    fence: int


@dataclass(frozen=True)
class OpenRequest:
    """First message on every edge.

    `fence` is the lease of the receiving stage; `route` holds the hops after it, nearest first:
    the receiver opens its own edge to `route[0]` with the rest. `seed` keys all noise.
    """

    session: SessionId
    fence: int
    avatar: str
    seed: int
    epoch: int = 0
    route: tuple[Hop, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


class Channel(Protocol):
    """The sending side of one edge, from the moment the receiver has accepted it.

    An edge is full duplex: audio_llm answers on the edge it was opened by. Both directions keep
    order, have credit and drop stale chunks alike. Several tasks may send; one receives.
    An edge ends when the handler returns, when either side closes, or when a peer vanishes: what
    had arrived is still received, sending fails at once.
    """

    async def send(self, chunk: Chunk, /) -> None:
        """Deliver `chunk` in order; waits while MAX_CREDIT chunks are unacknowledged.

        It need not have landed: within the process it is handed on as it is, and what leaves the
        process leaves when it is there, while the sender goes on.

        Raises:
            ChannelClosed: The receiver has gone; its own error, if it sent one, is raised instead.
            ValueError: `finish` was called before.
        """
        ...

    async def receive(self) -> Chunk | None:
        """Next chunk from the other side, or None once it has finished sending.

        Acknowledges the chunk before it and drops stale ones, as `Inbound.receive` does.

        Raises:
            ChannelClosed: The receiver has gone; its own error, if it sent one, is raised instead.
        """
        ...

    async def cancel(self, epoch: int, /) -> None:
        """Tell the other side that work of epochs below `epoch` is not wanted any more."""
        ...

    async def finish(self) -> None:
        """Say that no more chunks will be sent; the other direction stays open."""
        ...

    async def close(self) -> None:
        """Drop the edge in both directions; idempotent.

        The handler is not interrupted: its next receive or send says ChannelClosed. To hand over
        everything first: finish(), receive() until None, close().
        """
        ...


class Inbound(Protocol):
    """The receiving side of one edge, as a stage's handler sees it."""

    @property
    def request(self) -> OpenRequest: ...

    @property
    def epoch(self) -> int:
        """Highest epoch announced so far, by cancel or by a chunk; never falls."""
        ...

    @property
    def waited_s(self) -> float:
        """How long the chunk that was received last had been here before, in seconds."""
        ...

    async def receive(self) -> Chunk | None:
        """Next chunk in order, or None once the sender has finished.

        Never returns a chunk whose epoch is below `epoch`: it is dropped and its credit given back.
        The chunk before it is acknowledged (its credit returned) by this call.

        Raises:
            ChannelClosed: The sender has gone without finishing.
        """
        ...

    async def send(self, chunk: Chunk, /) -> None:
        """Send a chunk back to the sender of this edge, under the same credit rule."""
        ...


Handler = Callable[[Inbound], Awaitable[None]]
"""Serves one edge until it ends. An AvatarError it raises reaches the sender with its status.

Its first receive() or send() accepts the edge, and so does returning; an error raised before that
refuses it, out of the sender's connect(). Returning also finishes the direction back.
"""


class Transport(Protocol):
    """Listens for edges and opens them."""

    async def listen(self, handler: Handler, /) -> str:
        """Start to accept edges; returns the address to advertise."""
        ...

    async def connect(self, address: str, request: OpenRequest, /) -> Channel:
        """Open an edge; returns when the receiver's handler has accepted it.

        Raises:
            Unavailable: Nobody listens there.
            AvatarError: Whatever the receiver refused it with.
        """
        ...

    async def close(self) -> None:
        """Stop listening and drop every edge; idempotent."""
        ...
