"""A live session, for programs without asyncio."""

from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from talkingmachines._async_session import AsyncSession
from talkingmachines._avatars import ViewerToken
from talkingmachines._live_events import CueName, Frame, Heard, LiveEvent, LiveStep
from talkingmachines._pcm import Pcm
from talkingmachines._portal import Portal
from talkingmachines._session_info import SessionInfo

R = TypeVar("R")


class Session(Iterator[LiveStep]):
    """A call with an avatar: sound and words in, pictures, sound and events out.

        with client.session("ada") as session:
            session.say("Hello.")
            for step in session:
                ...

    Iterating gives events, pictures and sound in order of arrival, and ends after `Ended`; `events`
    and `frames` give one of both. Ten seconds of frames are kept for who reads late, then the
    oldest go; and 4096 events, then EventsLost is raised in place of the next. A lost connection is
    made anew as long as the server keeps the session, told by `Resumed`. Leaving the block ends the
    session on the server. May be used from several threads.
    """

    def __init__(self, portal: Portal, make: Callable[[], AsyncSession]) -> None:
        self._portal = portal
        self._twin = portal.run(_made(make))  # in the loop that it belongs to

    @property
    def id(self) -> str:
        """The session's id; empty before it is open."""
        return self._twin.id

    @property
    def token(self) -> str:
        """With `id` it lets `resume` come back to the session; empty before it is open."""
        return self._twin.token

    @property
    def num_dropped(self) -> int:
        """Frames that went because they were not read in time."""
        return self._twin.num_dropped

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Opens the session and connects to it, as entering its block does; once.

        Raises:
            Busy: Every slot is taken, and waiting in line was not asked for.
            TalkError: It cannot be opened for another reason.
        """
        self._portal.run(self._twin.open())

    def close(self) -> None:
        """Ends the session, here and on the server; a second time does nothing."""
        self._portal.run(self._twin.close())

    def leave(self) -> None:
        """Parts from the session without ending it: `resume` may come back to it for a while."""
        self._portal.run(self._twin.leave())

    def describe(self) -> SessionInfo:
        """How the session is."""
        return self._portal.run(self._twin.describe())

    def create_viewer_token(self) -> ViewerToken:
        """Lets others watch this session; several may share it, and it ends with the session.

        Raises:
            TooManyAttempts: There are as many tokens as there may be.
        """
        return self._portal.run(self._twin.create_viewer_token())

    def delete_viewer_tokens(self) -> None:
        """Takes all viewer tokens back, and shows all viewers out."""
        self._portal.run(self._twin.delete_viewer_tokens())

    # What is sent

    def say(self, text: str) -> None:
        """The avatar says this, 1 to 2000 characters; what it says now is interrupted."""
        self._portal.run(self._twin.say(text))

    def ask(self, text: str) -> None:
        """The server's model answers this, 1 to 2000 characters, as if the user had said it."""
        self._portal.run(self._twin.ask(text))

    def push_microphone(self, samples: Pcm, rate: int) -> None:
        """The user's sound; give it as it is recorded.

        Args:
            samples: Mono, 16-bit little endian.
            rate: Samples a second: 8000, 16000, 22050, 24000, 32000, 44100 or 48000.
        """
        self._portal.run(self._twin.push_microphone(samples, rate))

    def push_reply(self, samples: Pcm, rate: int, text: str = "") -> None:
        """The next sound of a reply of your own; returns when the server has room for all of it.

        The first one of a reply interrupts what the avatar says. Speech that is pushed faster than
        it is played waits here.

        Args:
            samples: Mono, 16-bit little endian.
            rate: Samples a second: 8000, 16000, 22050, 24000, 32000, 44100 or 48000.
            text: What it says, where a sentence begins: for captions, and for `interrupt`.
        """
        self._portal.run(self._twin.push_reply(samples, rate, text))

    def end_reply(self) -> None:
        """The reply is complete; nothing happens where none was begun."""
        self._portal.run(self._twin.end_reply())

    def cue(self, name: CueName) -> None:
        """A short movement of the face, from the next chunk on."""
        self._portal.run(self._twin.cue(name))

    def push_to_talk(self, pressed: bool) -> None:
        """The talk button: while it is down the user's turn does not end; letting it go ends it."""
        self._portal.run(self._twin.push_to_talk(pressed))

    def swap(self, avatar: str) -> None:
        """Lets another avatar go on with the session; `Swapped` tells when it does."""
        self._portal.run(self._twin.swap(avatar))

    def interrupt(self) -> Heard | None:
        """Silence, at once: returns what was heard of the answer, None where there was none.

        It ends a reply that is being pushed; the next push begins another one.
        """
        return self._portal.run(self._twin.interrupt())

    # What comes

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LiveStep:
        step = self._portal.run(_next(self._twin))
        if step is None:
            raise StopIteration
        return step

    def events(self) -> Iterator[LiveEvent]:
        """Only what happened; frames are left to others who iterate."""
        steps = self._twin.events()
        while (step := self._portal.run(_next(steps))) is not None:
            yield step

    def frames(self) -> Iterator[Frame]:
        """Only pictures and sound; events are left to others who iterate."""
        steps = self._twin.frames()
        while (step := self._portal.run(_next(steps))) is not None:
            yield step


async def _made(make: Callable[[], AsyncSession]) -> AsyncSession:
    return make()


async def _next(steps: AsyncIterator[R]) -> R | None:
    return await anext(steps, None)
