"""The nouns that flow: Stamp, AudioChunk -> AudioEmbedding -> LatentChunk -> FrameChunk."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NewType, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from avatar.errors import Unavailable

SessionId = NewType("SessionId", str)
WorkerId = NewType("WorkerId", str)

StageName = Literal["audio_llm", "audio_encoder", "score_worker", "vae_decoder", "gateway"]
STAGES: tuple[StageName, ...] = (
    "audio_llm",
    "audio_encoder",
    "score_worker",
    "vae_decoder",
    "gateway",
)

SPEECH_RATE = 16_000
"""Sample rate, in hertz, of all speech inside the graph; playout may use another."""

Behaviour = Literal["idle", "listening", "thinking", "speaking"]
"""What a face does while nobody tells it more."""
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)

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
"""A short movement on top of the behaviour; left and right are those of the picture."""
CUES: tuple[CueName, ...] = get_args(CueName)

LOOKAHEAD_LATENTS = 2
"""Latents of speech beyond a chunk that travel with it: the reach of an audio window of 5."""


@dataclass(frozen=True)
class Stamp:
    """Which chunk this is.

    `seq` counts the session's chunks and is never reset; `epoch` rises with each interruption;
    `fence` is the sender's lease counter; `pts` is in ticks of 1/48000 s since session start.
    `left_s` is how long after the chunk was sent somebody begins to wait for it, in seconds from 0;
    None: nobody does, it is not live. `is_light`: under overload, to be made with fewer
    denoising steps.
    """

    session: SessionId
    epoch: int
    seq: int
    fence: int
    pts: int
    left_s: float | None = None
    is_light: bool = False


@dataclass(frozen=True)
class AudioChunk:
    """Speech of one chunk.

    `samples` is (S,) float32 in [-1, 1]. `lookahead` is the speech right after it as far as it is
    already known, (0..) float32: it lets lips prepare for what comes and is never played from here.
    The face shows `behaviour` in this chunk, and begins each of `cues` with its first frame.
    Outside the chunk chain (a question, a spoken reply) `samples` may have any length, and the face
    is not told anything.
    """

    stamp: Stamp
    samples: NDArray[np.float32]
    sample_rate: int = SPEECH_RATE
    lookahead: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    last: bool = False
    behaviour: Behaviour = "idle"
    cues: tuple[CueName, ...] = ()


@dataclass(frozen=True)
class AudioEmbedding:
    """Embedding of one chunk's speech: `tokens` and `lookahead` are (latents, tokens, D) float32.

    All zero where nobody speaks. `lookahead` holds as many latents beyond the chunk as the
    profile's audio window reaches; unknown speech is zero there. `behaviour` and `cues` are those
    of the `AudioChunk`.
    """

    stamp: Stamp
    tokens: NDArray[np.float32]
    lookahead: NDArray[np.float32]
    last: bool = False
    behaviour: Behaviour = "idle"
    cues: tuple[CueName, ...] = ()


class Underway(Protocol):
    """An array that a device of this process has been asked for and may still be making.

    What computes on a device may take it from there without waiting; all others wait for it.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def wait(self) -> NDArray[Any]:
        """The array, once it is on the host; blocks, and may be called again."""
        ...

    def took_s(self) -> float:
        """How long the device worked on it, in seconds; blocks until that is over."""
        ...


@dataclass(frozen=True)
class LatentChunk:
    """One denoised chunk: `latents` is (F, C, H, W) float32 in the VAE's normalised space."""

    stamp: Stamp
    given: NDArray[np.float32] | Underway
    last: bool = False

    @property
    def latents(self) -> NDArray[np.float32]:
        """Blocks while they are under way: where nothing may block, `landed` comes before."""
        return on_host(self.given)


@dataclass(frozen=True)
class FrameChunk:
    """One decoded chunk: `frames` is (N, H, W, 3) uint8 RGB."""

    stamp: Stamp
    given: NDArray[np.uint8] | Underway
    last: bool = False

    @property
    def frames(self) -> NDArray[np.uint8]:
        """Blocks while they are under way: where nothing may block, `landed` comes before."""
        return on_host(self.given)


def on_host(given: "NDArray[Any] | Underway") -> NDArray[Any]:
    """Waits, if that is what it takes."""
    return given if isinstance(given, np.ndarray) else given.wait()


TurnKind = Literal[
    # to audio_llm
    "text",  # say this text as it stands
    "prompt",  # answer this text
    "end_of_question",  # the question's audio is complete, answer it
    "hold_turn",  # live: the talk button is down, wait for end_of_question however long the pauses
    "playback_started",  # live: the answer can be heard from now on
    "playback_finished",  # live: it was heard to its end
    "interrupt",  # live: drop the answer; `text` is what was heard of it
    "character",  # live: be the character of this name from now on, in the same conversation
    # from audio_llm
    "speech_started",  # live: the caller speaks, since `seconds` ago
    "speech_stopped",  # live: the caller's turn is over; the speech ended `seconds` ago
    "speech_ignored",  # live: what sounded like speech was none, or asked for no answer
    "barge_in",  # live: the caller interrupts the answer; wants `interrupt` back
    "caption",  # live: what was understood so far of a turn that goes on
    "transcript",  # what was heard
    "reply",  # one sentence of the answer, before its audio; `words` where their times are known,
    # `cues` that the face shows with it
    "end_of_reply",  # the answer is complete; which models made it, one a line
    "failed",  # live: this turn has no answer; `text` says why, the conversation goes on
]


@dataclass(frozen=True)
class Word:
    """A word of a spoken sentence; seconds since the sentence's audio began."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class TimedCue:
    """A cue, and when it is due: seconds since the sentence's, or the recording's, sound began."""

    name: CueName
    start_s: float


@dataclass(frozen=True)
class TurnEvent:
    """A step of the conversation; the other fields are empty where the kind needs none."""

    stamp: Stamp
    kind: TurnKind
    text: str = ""
    seconds: float = 0.0
    words: tuple[Word, ...] = ()
    cues: tuple[TimedCue, ...] = ()


Chunk = AudioChunk | AudioEmbedding | LatentChunk | FrameChunk | TurnEvent
C = TypeVar("C", bound=Chunk)


def underway(chunk: Chunk) -> Underway | None:
    """What of the chunk a device may still be making; None where all of it is here."""
    if not isinstance(chunk, LatentChunk | FrameChunk) or isinstance(chunk.given, np.ndarray):
        return None
    return chunk.given


def settle(chunk: Chunk) -> None:
    """Wait until no device is making any of it: for who times what a chunk costs."""
    if (coming := underway(chunk)) is not None:
        coming.wait()


async def landed(chunk: C) -> C:
    """The chunk, once all of it is on the host; waits in a thread, so that others go on.

    Raises:
        Unavailable: The device failed at it.
    """
    if (coming := underway(chunk)) is None or not isinstance(chunk, LatentChunk | FrameChunk):
        return chunk
    try:
        there: Any = await asyncio.to_thread(coming.wait)
    except RuntimeError as error:  # torch's, of anything on a device
        raise Unavailable(f"the device failed at chunk {chunk.stamp.seq}: {error}") from error
    return replace(chunk, given=there)
