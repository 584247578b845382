"""One end of an edge: order, credit and epochs, the same whatever carries the messages."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from avatar.errors import AvatarError, ChannelClosed, InvalidInput
from avatar.media import Chunk
from avatar.transport import MAX_CREDIT, Handler, OpenRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credit:
    """Leave for the other end to send `chunks` more."""

    chunks: int


@dataclass(frozen=True)
class Cancel:
    """Work of epochs below `epoch` is not wanted any more."""

    epoch: int


@dataclass(frozen=True)
class Finish:
    """No more chunks follow from this end."""


Message = Chunk | Credit | Cancel | Finish


class End:
    """What one side of an edge may send, what has reached it, and why the edge is over.

    `post` hands a message to the carrier without waiting: credit bounds what can pile up there.
    The carrier calls `arrive` for each message of the other end, in order, and `lose` once when no
    more can come. One task may send while another receives; several may send, one receives.
    """

    def __init__(self, post: Callable[[Message], None], epoch: int = 0) -> None:
        self.epoch = epoch
        self.waited_s = 0.0
        self._post = post
        self._arrived: deque[tuple[Chunk, float]] = deque()  # and when
        self._credit = MAX_CREDIT
        self._unacknowledged = 0  # handed to the receiver, credit not yet returned
        self._finished = False  # this end sends no more
        self._peer_finished = False
        self._lost: AvatarError | None = None
        self._sending = asyncio.Lock()  # senders take credit in the order in which they came
        self._credit_came = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self._lost is not None

    async def send(self, chunk: Chunk) -> None:
        if self._finished:
            raise ValueError("send() after finish(): no more chunks were promised")
        async with self._sending:
            while self._credit == 0 and self._lost is None:
                self._credit_came.clear()
                await self._credit_came.wait()
            if self._lost is not None:
                raise self._lost
            self._credit -= 1
            try:
                self._post(chunk)
            except InvalidInput:  # it cannot be encoded, hence was never sent
                self._credit += 1
                raise

    async def receive(self) -> Chunk | None:
        self._give_back(self._unacknowledged)
        self._unacknowledged = 0
        while not self._arrived:
            if self._peer_finished:
                return None
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()
        self._unacknowledged = 1
        chunk, arrived_at = self._arrived.popleft()
        self.waited_s = time.monotonic() - arrived_at
        return chunk

    async def cancel(self, epoch: int) -> None:
        if self._lost is None:
            self._post(Cancel(epoch))
        self._raise_epoch(epoch)

    async def finish(self) -> None:
        if self._lost is None and not self._finished:
            self._post(Finish())
        self._finished = True

    def arrive(self, message: Message) -> None:
        """Take in one message of the other end.

        Raises:
            InvalidInput: The other end breaks the credit rule.
        """
        if self._lost is not None:
            return
        match message:
            case Credit(chunks):
                if self._credit + chunks > MAX_CREDIT:
                    raise InvalidInput(
                        f"credit for {self._credit + chunks} chunks given, at most {MAX_CREDIT} "
                        "may be in flight"
                    )
                self._credit += chunks
                self._credit_came.set()
            case Cancel(epoch):
                self._raise_epoch(epoch)
            case Finish():
                self._peer_finished = True
                self._news.set()
            case _:
                self._take(message)

    def lose(self, reason: AvatarError | None) -> None:
        """The edge is over: None when the other end is done, else why.

        What has arrived before can still be received; sending is over at once.
        """
        if self._lost is None:
            if reason is None:
                self._peer_finished = True
            self._lost = reason or ChannelClosed("the other end is done and takes no more chunks")
            self._credit_came.set()
            self._news.set()

    def give_up(self) -> None:
        """This side wants no more of the edge: nothing is sent or received from now on."""
        self._arrived.clear()
        self.lose(ChannelClosed("this end of the edge was closed"))

    def _take(self, chunk: Chunk) -> None:
        pending = len(self._arrived) + self._unacknowledged + 1
        if pending > MAX_CREDIT:
            raise InvalidInput(f"{pending} chunks in flight, {MAX_CREDIT} allowed by credit")
        self._arrived.append((chunk, time.monotonic()))
        # A chunk announces its epoch; and one that is stale itself goes the same way as its elders.
        self._raise_epoch(chunk.stamp.epoch)
        self._news.set()

    def _raise_epoch(self, epoch: int) -> None:
        self.epoch = max(self.epoch, epoch)
        wanted = [each for each in self._arrived if each[0].stamp.epoch >= self.epoch]
        num_stale = len(self._arrived) - len(wanted)
        self._arrived = deque(wanted)
        self._give_back(num_stale)

    def _give_back(self, num_chunks: int) -> None:
        if num_chunks and self._lost is None:
            self._post(Credit(num_chunks))


class InboundEnd(End):
    """The end that a handler holds; its first receive or send accepts the edge."""

    def __init__(
        self,
        request: OpenRequest,
        post: Callable[[Message], None],
        accept: Callable[[], None],
    ) -> None:
        super().__init__(post, request.epoch)
        self.request = request
        self._accept = accept
        self._is_accepted = False

    async def send(self, chunk: Chunk) -> None:
        self._accept_once()
        await super().send(chunk)

    async def receive(self) -> Chunk | None:
        self._accept_once()
        return await super().receive()

    def _accept_once(self) -> None:
        if not self._is_accepted:
            self._is_accepted = True
            self._accept()


async def serve(handler: Handler, inbound: InboundEnd) -> AvatarError | None:
    """Run `handler` on one edge; returns what the sender must be told, None when all went well."""
    try:
        await handler(inbound)
    except AvatarError as error:
        return error
    except Exception:
        log.exception("handler_failed", extra={"session": inbound.request.session})
        return AvatarError("the stage failed on this edge; its log has the traceback")
    finally:
        inbound.give_up()
    return None
