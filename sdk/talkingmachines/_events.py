"""What comes back from a server, as plain values."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the avatar heard; the first step of an `ask`."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplySentence:
    """One sentence of the answer, before its video."""

    text: str


@dataclass(frozen=True, slots=True)
class ChunkReady:
    """A chunk of video has been generated.

    `chunks_known` is how many are needed as far as known; it grows while the answer is spoken.
    `media_s` is the length of the video so far, `elapsed_s` the time since the request was
    complete.
    """

    chunks_done: int
    chunks_known: int
    media_s: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class VideoPiece:
    """The next bytes of the MP4 file (H.264, AAC)."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a finished answer; its last step.

    `first_chunk_s` and `total_s` run from the complete request to the first and the last chunk of
    video. `models` says which models spoke, one line each.
    """

    frame_count: int
    frame_rate: float
    audio_s: float
    first_chunk_s: float
    total_s: float
    models: tuple[str, ...]


Event = Transcript | ReplySentence | ChunkReady | VideoPiece | Summary
"""One step of an answer."""


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """An answer whose video lies in a file.

    `transcript` is empty when the avatar was given a text to say.
    """

    path: Path
    transcript: str
    reply: str
    summary: Summary


@dataclass(frozen=True, slots=True)
class Avatar:
    """A character that the server can show; `is_shipped` is false for one that was made there."""

    id: str
    display_name: str
    description: str
    is_shipped: bool = True
