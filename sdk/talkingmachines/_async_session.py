"""A live session, for programs with asyncio."""

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Final, Self, cast

import grpc

from talkingmachines import _live_wire as wire
from talkingmachines._avatars import ViewerToken
from talkingmachines._cancelled import is_being_cancelled
from talkingmachines._errors import ConnectionLost, SessionLost, TalkError, Unavailable
from talkingmachines._inbox import Inbox
from talkingmachines._link import Link, LinkLost
from talkingmachines._live_events import (
    CueName,
    Ended,
    Frame,
    Heard,
    LiveEvent,
    LiveStep,
    Resumed,
)
from talkingmachines._pcm import Pcm, pieces
from talkingmachines._session_calls import SessionCalls
from talkingmachines._session_info import SessionInfo, SessionOptions, Ticket
from talkingmachines_api.v1 import live_pb2

REPLY_PIECE_S: Final = 0.1
MICROPHONE_PIECE_S: Final = 1.0


class AsyncSession(AsyncIterator[LiveStep]):
    """A call with an avatar: sound and words in, pictures, sound and events out.

        async with client.session("ada") as session:
            await session.say("Hello.")
            async for step in session:
                ...

    Iterating gives events, pictures and sound in order of arrival, and ends after `Ended`; `events`
    and `frames` give one of both. Ten seconds of frames are kept for who reads late, then the
    oldest go; and 4096 events, then EventsLost is raised in place of the next. A lost connection is
    made anew as long as the server keeps the session, told by `Resumed`. Leaving the block ends the
    session on the server.
    """

    def __init__(
        self, calls: SessionCalls, options: SessionOptions, ticket: Ticket | None = None
    ) -> None:
        self._calls = calls
        self._options = options
        self._ticket = ticket
        self._link: Link | None = None
        self._grace_s = 0.0
        self._inbox = Inbox()
        self._opening: asyncio.Task[None] | None = None
        self._closing = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._linked = asyncio.Event()
        self._over: TalkError | None = None
        self._is_closed = False
        self._is_kept = False  # on the server: another connection has it, or may come to have it
        self._deleting: asyncio.Task[None] | None = None
        self._interrupts: dict[str, asyncio.Future[Heard | None]] = {}
        self._numbers = itertools.count(1)
        self._reply_id = ""  # of the reply that is being pushed

    @property
    def id(self) -> str:
        """The session's id; empty before it is open."""
        return self._ticket.session_id if self._ticket else ""

    @property
    def token(self) -> str:
        """With `id` it lets `resume` come back to the session; empty before it is open."""
        return self._ticket.token if self._ticket else ""

    @property
    def num_dropped(self) -> int:
        """Frames that went because they were not read in time."""
        return self._inbox.num_dropped

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Opens the session and connects to it, as entering its block does; once.

        Raises:
            Busy: Every slot is taken, and waiting in line was not asked for.
            TalkError: It cannot be opened for another reason.
        """
        if self._is_closed:
            raise ValueError("The session is closed: open a new one.")
        if self._reading is not None:
            return
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        try:
            await self._opening
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise ConnectionLost("The session was closed before it was open.") from None

    async def close(self) -> None:
        """Ends the session, here and on the server; a second time does nothing."""
        async with self._closing:  # a second one returns when it is done too
            self._is_closed = True
            if self._opening is not None and not self._opening.done():
                self._opening.cancel()
                await asyncio.wait([self._opening])
            await self._part()
            await self._delete()

    async def leave(self) -> None:
        """Parts from the session without ending it: `resume` may come back to it for a while."""
        async with self._closing:
            self._is_closed = self._is_kept = True
            await self._part()

    async def describe(self) -> SessionInfo:
        """How the session is."""
        return await self._calls.describe(self._known())

    async def create_viewer_token(self) -> ViewerToken:
        """Lets others watch this session; several may share it, and it ends with the session.

        Raises:
            TooManyAttempts: There are as many tokens as there may be.
        """
        return await self._calls.create_viewer_token(self._known())

    async def delete_viewer_tokens(self) -> None:
        """Takes all viewer tokens back, and shows all viewers out."""
        await self._calls.delete_viewer_tokens(self._known())

    # What is sent

    async def say(self, text: str) -> None:
        """The avatar says this, 1 to 2000 characters; what it says now is interrupted."""
        await self._send(wire.say(text))

    async def ask(self, text: str) -> None:
        """The server's model answers this, 1 to 2000 characters, as if the user had said it."""
        await self._send(wire.ask(text))

    async def push_microphone(self, samples: Pcm, rate: int) -> None:
        """The user's sound; give it as it is recorded.

        Args:
            samples: Mono, 16-bit little endian.
            rate: Samples a second: 8000, 16000, 22050, 24000, 32000, 44100 or 48000.
        """
        for piece, _ in pieces(samples, rate, MICROPHONE_PIECE_S):
            await self._send(wire.microphone(piece, rate))

    async def push_reply(self, samples: Pcm, rate: int, text: str = "") -> None:
        """The next sound of a reply of your own; returns when the server has room for all of it.

        The first one of a reply interrupts what the avatar says. Speech that is pushed faster than
        it is played waits here.

        Args:
            samples: Mono, 16-bit little endian.
            rate: Samples a second: 8000, 16000, 22050, 24000, 32000, 44100 or 48000.
            text: What it says, where a sentence begins: for captions, and for `interrupt`.
        """
        parts = pieces(samples, rate, REPLY_PIECE_S)
        reply_id = self._reply_id = self._reply_id or f"{uuid.uuid4()}"
        if text:
            await self._send(wire.reply_sentence(reply_id, text))
        for piece, seconds in parts:
            await self._send(wire.reply_speech(reply_id, piece, rate), seconds)

    async def end_reply(self) -> None:
        """The reply is complete; nothing happens where none was begun."""
        reply_id, self._reply_id = self._reply_id, ""
        if reply_id:
            await self._send(wire.reply_end(reply_id))

    async def cue(self, name: CueName) -> None:
        """A short movement of the face, from the next chunk on."""
        await self._send(wire.cue(name))

    async def push_to_talk(self, pressed: bool) -> None:
        """The talk button: while it is down the user's turn does not end; letting it go ends it."""
        await self._send(wire.push_to_talk(pressed))

    async def swap(self, avatar: str) -> None:
        """Lets another avatar go on with the session; `Swapped` tells when it does."""
        await self._send(wire.swap(avatar))

    async def interrupt(self) -> Heard | None:
        """Silence, at once: returns what was heard of the answer, None where there was none.

        It ends a reply that is being pushed; the next push begins another one.
        """
        request_id = str(next(self._numbers))
        answer = asyncio.get_running_loop().create_future()
        self._interrupts[request_id] = answer
        try:
            await self._send(wire.interrupt(request_id))
            return cast(Heard | None, await answer)
        finally:
            del self._interrupts[request_id]
            self._reply_id = ""

    # What comes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveStep:
        self._check_begun()
        step = await self._inbox.take("all")
        if step is None:
            raise StopAsyncIteration
        return step

    async def events(self) -> AsyncIterator[LiveEvent]:
        """Only what happened; frames are left to others who iterate."""
        self._check_begun()
        while (step := await self._inbox.take("events")) is not None:
            yield cast(LiveEvent, step)

    async def frames(self) -> AsyncIterator[Frame]:
        """Only pictures and sound; events are left to others who iterate."""
        self._check_begun()
        while (step := await self._inbox.take("frames")) is not None:
            yield cast(Frame, step)

    # The connection

    async def _open(self) -> None:
        is_ours = self._ticket is None
        if self._ticket is None:
            self._ticket = await self._calls.create(self._options)
        try:
            link, opened = await self._calls.link(self._ticket, self._options)
        except BaseException:
            self._is_closed, self._is_kept = True, not is_ours
            await self._delete()
            raise
        self._connect(link, opened)
        self._reading = asyncio.create_task(self._read_all(link))

    async def _delete(self) -> None:
        """Ends the session on the server, once, whoever else is cancelled meanwhile."""
        if self._ticket is None or self._is_kept:
            return
        if self._deleting is None:
            self._deleting = asyncio.create_task(self._calls.delete(self._ticket))
        await asyncio.shield(self._deleting)

    async def _send(self, message: live_pb2.TalkRequest, speech_s: float = 0.0) -> None:
        """Writes it to the connection that there is, or to the next one."""

        async def write(link: Link) -> None:
            if speech_s:
                await link.pay(speech_s)
            await link.write(message)

        await self._with_link(write)

    async def _with_link(self, act: Callable[[Link], Awaitable[None]]) -> None:
        while True:
            self._check_opened()
            await self._linked.wait()
            if self._over is not None:
                raise self._over
            link = self._link
            if link is None:  # lost again before this task's turn
                continue
            try:
                return await act(link)
            except LinkLost:
                if self._link is link:  # its reader will notice too, and connect anew
                    self._unlink(link)

    def _known(self) -> Ticket:
        if self._ticket is None:
            raise _not_open()
        return self._ticket

    def _check_begun(self) -> None:
        if self._reading is None:
            raise _not_open()

    def _check_opened(self) -> None:
        if self._reading is None or self._is_closed:
            raise _not_open()

    def _connect(self, link: Link, opened: live_pb2.TalkOpened) -> None:
        self._grace_s = opened.session.limits.grace_seconds
        self._link = link
        self._linked.set()

    def _unlink(self, link: Link) -> None:
        link.lose()
        if self._link is link:
            self._link = None
            self._linked.clear()

    async def _read_all(self, link: Link) -> None:
        """Takes in all that comes, over one connection after the other, until the end."""
        try:
            while (reason := await self._read(link)) is None:
                link = await self._come_back()
            self._is_kept = reason == "replaced"
            over = SessionLost(f"The session has ended: {reason}.")
            self._finish(over, None)
        except TalkError as error:
            self._finish(error, error)
        except asyncio.CancelledError:
            self._finish(SessionLost("The session was closed."), None)
            raise
        finally:
            link.lose()

    async def _read(self, link: Link) -> str | None:
        """Takes in what comes over one connection; why the session ended, None if it did not."""
        try:
            while (message := await link.read()) is not None:
                if (reason := self._take_in(message, link)) is not None:
                    return reason
        except grpc.RpcError as error:
            fault = self._calls.fault(error)
            if not isinstance(fault, Unavailable):
                raise fault from error
        except ConnectionLost:
            pass  # it is made anew, or that tells why not
        self._unlink(link)
        return None

    async def _come_back(self) -> Link:
        assert self._ticket is not None
        began = time.monotonic()
        link, opened = await self._calls.link_again(self._ticket, self._options, self._grace_s)
        self._connect(link, opened)
        self._inbox.put(Resumed(time.monotonic() - began))
        for request_id in list(self._interrupts):
            try:
                await link.write(wire.interrupt(request_id))
            except LinkLost:
                break  # reading it tells, and the next one is tried
        return link

    def _take_in(self, message: live_pb2.TalkResponse, link: Link) -> str | None:
        match message.WhichOneof("message"):
            case "sound" | "picture":
                self._inbox.put(wire.frame_of(message))
            case "event":
                event = wire.live_event_of(message.event)
                if event is not None:
                    self._inbox.put(event)
                if isinstance(event, Ended):
                    return event.reason
            case "reply_credit":
                link.grant(message.reply_credit.granted_milliseconds)
            case "interrupted":
                told = message.interrupted
                answer = self._interrupts.get(told.request_id)
                if answer is not None and not answer.done():
                    is_heard = told.HasField("heard")
                    answer.set_result(wire.heard_of(told.heard) if is_heard else None)
            case _:
                pass  # a message that only a newer server knows
        return None

    def _finish(self, over: TalkError, error: TalkError | None) -> None:
        self._over = over
        self._link = None
        self._linked.set()
        self._inbox.finish(error)
        for answer in self._interrupts.values():
            if not answer.done():
                answer.set_exception(over)

    async def _part(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])


def _not_open() -> ValueError:
    return ValueError("The session is not open: use it inside `with client.session(...) as it:`.")
