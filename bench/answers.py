"""One request to the graph through the SDK, and what came of it."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import jiwer
import numpy as np

from avatar.audio.loudness import rms_dbfs
from talkingmachines import Answer, ChunkReady, Event, SavedAnswer

WORDS = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),  # type: ignore[no-untyped-call]  # jiwer
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


@dataclass(frozen=True)
class Took:
    """Figures of one answer.

    `first_chunk_s` is by the server's clock from the complete request on, `client_first_s` by ours
    from the call on. `rate` is media seconds a second from the first chunk to the last one.
    """

    first_chunk_s: float
    client_first_s: float
    total_s: float
    media_s: float
    rate: float | None
    transcript: str
    reply: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class Video:
    """What a player finds in the file."""

    frames: int
    frame_rate: float
    width: int
    height: int
    sound_s: float
    level_dbfs: float

    @property
    def off_frames(self) -> float:
        """By how many frames picture and sound differ in length."""
        return abs(self.frames - self.sound_s * self.frame_rate)


def receive(answer: Answer, path: Path) -> Took:
    """Take the whole answer, its video into `path`."""
    started = time.monotonic()
    chunks: list[tuple[ChunkReady, float]] = []

    def note(event: Event) -> None:
        if isinstance(event, ChunkReady):
            chunks.append((event, time.monotonic() - started))

    saved: SavedAnswer = answer.save(path, note)
    return Took(
        first_chunk_s=saved.summary.first_chunk_s,
        client_first_s=chunks[0][1],
        total_s=saved.summary.total_s,
        media_s=chunks[-1][0].media_s,
        rate=rate([each for each, _ in chunks]),
        transcript=saved.transcript,
        reply=saved.reply,
        models=saved.summary.models,
    )


def rate(chunks: list[ChunkReady]) -> float | None:
    """Media seconds a second while chunks flow; None where a single chunk says nothing of it."""
    first, last = chunks[0], chunks[-1]
    elapsed_s = last.elapsed_s - first.elapsed_s
    return (last.media_s - first.media_s) / elapsed_s if elapsed_s > 0 else None


def inspect(path: Path) -> Video:
    """Decode the whole file."""
    with av.open(str(path), "r") as file:
        frames, width, height = 0, 0, 0
        for frame in file.decode(video=0):
            frames, width, height = frames + 1, frame.width, frame.height
        frame_rate = float(file.streams.video[0].average_rate or 0)
    with av.open(str(path), "r") as file:
        pieces = [frame.to_ndarray().mean(axis=0) for frame in file.decode(audio=0)]
        sound = np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)
        sound_rate = file.streams.audio[0].rate
    return Video(frames, frame_rate, width, height, len(sound) / sound_rate, rms_dbfs(sound))


def word_error_rate(said: str | list[str], heard: str | list[str]) -> float:
    """Without regard to case and punctuation; of lists, over all of their words."""
    return float(jiwer.wer(said, heard, reference_transform=WORDS, hypothesis_transform=WORDS))


def numbers_of(took: Took, path: Path, said: str = "") -> dict[str, Any]:
    """An answer as plain numbers; `said` is what a question's transcript is compared with."""
    video = inspect(path)
    numbers = {**asdict(took), **asdict(video), "off_frames": video.off_frames}
    return {**numbers, "wer": word_error_rate(said, took.transcript)} if said else numbers
