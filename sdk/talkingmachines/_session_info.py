"""How a live session is, and what is wanted of it."""

from collections.abc import Callable
from dataclasses import dataclass

from talkingmachines._live_events import Answers, PictureFormat, Place, SoundFormat, State
from talkingmachines._live_wire import state_of
from talkingmachines_api.v1 import session_pb2


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session, as its owner sees it.

    Without a word for `idle_s` it ends, without a connection for `grace_s`, and `longest_s` after
    it was opened. `width` and `height` are 0 where only the first picture tells them.
    """

    id: str
    avatar: str
    state: State
    rung: str
    num_turns: int
    num_interruptions: int
    media_s: float
    models: tuple[str, ...]
    num_viewers: int
    answers: Answers
    frame_rate: float
    chunk_s: float
    width: int
    height: int
    idle_s: float
    grace_s: float
    longest_s: float


@dataclass(frozen=True)
class SessionOptions:
    """What `Client.session` was asked for."""

    avatar: str
    answers: Answers
    pictures: PictureFormat
    sound: SoundFormat
    wait_in_line: bool
    on_place: Callable[[Place], object] | None


@dataclass(frozen=True)
class Ticket:
    """What a session is known by, and comes back with."""

    session_id: str
    token: str


def info_of(message: session_pb2.Session) -> SessionInfo:
    is_client = message.answers == session_pb2.ANSWERS_CLIENT
    return SessionInfo(
        id=message.id,
        avatar=message.avatar_id,
        state=state_of(message.state),
        rung=message.rung,
        num_turns=message.turns,
        num_interruptions=message.epoch,
        media_s=message.media_seconds,
        models=tuple(message.models),
        num_viewers=message.viewers,
        answers="client" if is_client else "server",
        frame_rate=message.profile.frame_rate,
        chunk_s=message.profile.chunk_seconds,
        width=message.profile.width,
        height=message.profile.height,
        idle_s=message.limits.idle_seconds,
        grace_s=message.limits.grace_seconds,
        longest_s=message.limits.session_seconds,
    )
