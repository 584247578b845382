"""What happens in a live session, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TICKS_PER_SECOND = 48_000
"""Of the session's clock."""

Answers = Literal["server", "client"]
"""Who answers what the user says: the server's language model, or the client."""
SoundFormat = Literal["pcm", "opus"]
"""pcm: mono, 16-bit little endian, 48000 Hz. opus: a packet each. 20 ms at a time."""
PictureFormat = Literal["jpeg", "vp8", "h264", "none"]
"""jpeg: each one whole. vp8, h264 (Annex B): after a gap they go on with a key frame."""
State = Literal["idle", "listening", "thinking", "speaking"]
CueName = Literal[
    "smile",
    "frown",
    "surprised",
    "nod",
    "shake",
    "tilt",
    "bow",
    "blink",
    "look_left",
    "look_right",
    "look_up",
    "look_down",
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one who waits for a session stands; 1 is next.

    `estimate_s` is the server's guess of the wait that is left.
    """

    position: int
    waiting: int
    estimate_s: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a spoken sentence; seconds since the sentence's sound began."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a user heard of an answer: the words, and how much of the sound was played."""

    response_id: str
    text: str
    position_s: float


@dataclass(frozen=True, slots=True)
class Sound:
    """20 ms of the avatar's voice, or of silence; `pts` in ticks of 1/48000 s."""

    pts: int
    content: bytes

    @property
    def at_s(self) -> float:
        """On the session's clock."""
        return self.pts / TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame; those with `is_key` can be decoded alone. `pts` as that of Sound."""

    pts: int
    content: bytes
    is_key: bool

    @property
    def at_s(self) -> float:
        """On the session's clock."""
        return self.pts / TICKS_PER_SECOND


Frame = Sound | Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """Something that happened; `at_s` on the session's clock."""

    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class UserSpeech(LiveEvent):
    """The user began to speak, or stopped."""

    speaking: bool


@dataclass(frozen=True, slots=True)
class UserTranscript(LiveEvent):
    """What the user says; until it is final, more may follow in its place."""

    text: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class ResponseCreated(LiveEvent):
    """An answer is being made."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Sentence(LiveEvent):
    """A sentence of the answer begins to sound."""

    response_id: str
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class PlaybackStarted(LiveEvent):
    """An answer begins to be heard."""

    response_id: str


@dataclass(frozen=True, slots=True)
class PlaybackFinished(LiveEvent):
    """An answer is no longer heard; once for each that was."""

    heard: Heard
    interrupted: bool


@dataclass(frozen=True, slots=True)
class ResponseDone(LiveEvent):
    """An answer is over; `status` is completed, cancelled or failed, and `reason` says why."""

    response_id: str
    status: str
    reason: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StateChanged(LiveEvent):
    """What the avatar does now."""

    state: State


@dataclass(frozen=True, slots=True)
class LadderStep(LiveEvent):
    """A step on the quality ladder: "full", or "still" (the voice goes on, the face rests)."""

    rung: str
    reason: str


@dataclass(frozen=True, slots=True)
class LimitNotice(LiveEvent):
    """The session will end: `limit` is idle or time_limit; None left: it will not, any more."""

    limit: str
    seconds_left: int | None


@dataclass(frozen=True, slots=True)
class Swapped(LiveEvent):
    """Another avatar goes on with the session."""

    avatar: str


@dataclass(frozen=True, slots=True)
class Refused(LiveEvent):
    """Something that was sent is refused; the session goes on."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class OtherEvent(LiveEvent):
    """Something that this version has no class for, such as avatar.quality."""

    type: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Resumed(LiveEvent):
    """The connection was lost, and is there again after `gap_s` seconds; sent by no server."""

    gap_s: float


@dataclass(frozen=True, slots=True)
class Ended(LiveEvent):
    """Last event; after "replaced" and "hung_up" the session itself goes on."""

    reason: str


LiveStep = LiveEvent | Frame
"""What iterating over a session gives."""
