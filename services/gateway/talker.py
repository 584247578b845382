"""One request from its text or question to the finished video, whatever protocol asked for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar.audio.files import decode
from avatar.audio.video import SOUND_RATE
from avatar.cast.avatars import character_of
from avatar.cast.characters import DEFAULT_CHARACTER, Character
from avatar.errors import (
    AvatarError,
    ChannelClosed,
    DeadlineExceeded,
    InvalidInput,
    TooLarge,
    Unavailable,
)
from avatar.media import (
    SPEECH_RATE,
    AudioChunk,
    Chunk,
    SessionId,
    Stamp,
    TurnEvent,
    TurnKind,
)
from avatar.telemetry import metrics
from avatar.telemetry.logging import get_logger
from services.gateway.coordinator import Coordinator, Session
from services.gateway.mux import ThreadedMp4Writer
from services.gateway.timeline import Timeline
from services.settings import AppConfig
from services.worker import task_group

log = get_logger(__name__)

VIDEO_PIECE_BYTES = 256 << 10
QUESTION_PIECE_S = 1.0


@dataclass(frozen=True)
class Transcript:
    """What was heard."""

    text: str


@dataclass(frozen=True)
class ReplySentence:
    """One sentence of the answer, before its video."""

    text: str


@dataclass(frozen=True)
class ChunkReady:
    """A chunk of video has come out of the graph."""

    chunks_done: int
    chunks_known: int
    media_s: float
    elapsed_s: float


@dataclass(frozen=True)
class VideoPiece:
    """Next bytes of the finished MP4."""

    content: bytes


@dataclass(frozen=True)
class Summary:
    """Figures of a finished answer; times count from the complete request."""

    frame_count: int
    frame_rate: float
    audio_s: float
    first_chunk_s: float
    total_s: float
    models: tuple[str, ...]


TalkStep = Transcript | ReplySentence | ChunkReady | VideoPiece | Summary
Emit = Callable[[TalkStep], Awaitable[None]]


def find_avatar(name: str, avatars: Path) -> Character:
    """The character of that name; the first one where the name is empty.

    Raises:
        NotFound: There is none.
        CorruptFile: It is one of the folder `avatars`, and not whole.
    """
    return character_of(name, avatars) if name else DEFAULT_CHARACTER


class Talker:
    """Has avatars say texts and answer questions, as fast as the graph's credit allows."""

    def __init__(
        self,
        coordinator: Coordinator,
        config: AppConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._coordinator = coordinator
        self._config = config
        self._clock = clock

    @property
    def avatars(self) -> Path:
        """Folder of the user's own."""
        return self._config.avatars_dir

    def find(self, avatar: str) -> Character:
        """As `find_avatar`, in the folder of the settings."""
        return find_avatar(avatar, self.avatars)

    async def say(self, avatar: str, text: str, emit: Emit) -> None:
        """Have the avatar say the text.

        Raises:
            InvalidInput: The text is empty, or too long (TooLarge).
            NotFound: There is no such avatar.
            Busy: All slots are taken.
        """
        character = self.find(avatar)
        text = text.strip()
        longest = self._config.limits.text_characters
        if not text:
            raise InvalidInput(f"the text is empty; send 1 to {longest} characters")
        if len(text) > longest:
            raise TooLarge(f"the text has {len(text)} characters, at most {longest} are said")
        with _counted("say", self._clock):
            await self._talk(
                "say",
                character,
                lambda talk: talk.run([_turn(talk.session, 0, "text", text)]),
                emit,
            )

    async def ask(self, avatar: str, question: bytes, emit: Emit) -> None:
        """Have the avatar answer the question in an audio file.

        Raises:
            InvalidInput: Not an audio file, too long (TooLarge), or nobody speaks (NoSpeech).
            NotFound: There is no such avatar.
            Busy: All slots are taken.
        """
        character = self.find(avatar)
        limits = self._config.limits
        with _counted("ask", self._clock):
            speech = await asyncio.to_thread(
                decode, question, SPEECH_RATE, limits.question_s, limits.question_bytes
            )
            await self._talk(
                "ask", character, lambda talk: talk.run(_spoken(talk.session, speech)), emit
            )

    async def render(self, avatar: str, recording: bytes, emit: Emit) -> None:
        """Have the avatar speak with the voice in an audio file.

        Raises:
            InvalidInput: Not an audio file, or too long (TooLarge), or without any sound.
            NotFound: There is no such avatar.
            Busy: All slots are taken.
        """
        character = self.find(avatar)
        limits = self._config.limits
        with _counted("render", self._clock):
            speech = await asyncio.to_thread(
                decode, recording, SOUND_RATE, limits.reply_s, limits.question_bytes
            )
            await self._talk("render", character, lambda talk: talk.speak(speech), emit)

    async def _talk(
        self,
        request: str,
        character: Character,
        run: Callable[["_Talk"], Awaitable[None]],
        emit: Emit,
    ) -> None:
        started = self._clock()
        async with ThreadedMp4Writer(self._config.clock.fps, SOUND_RATE) as video:
            try:
                async with self._coordinator.session(character.id) as session:
                    talk = _Talk(session, self._config, video, emit, self._clock, started)
                    await run(talk)
            except ChannelClosed as error:
                log.warning("worker_lost", cause=str(error))
                raise Unavailable(
                    "a worker of this answer has stopped; ask again in a few seconds"
                ) from error
            metrics.first_chunk_seconds.labels(request).observe(talk.first_chunk_s)
            total_s = self._clock() - started
            content = await video.finish()
            for start in range(0, len(content), VIDEO_PIECE_BYTES):
                await emit(VideoPiece(content[start : start + VIDEO_PIECE_BYTES]))
        await emit(
            Summary(
                frame_count=video.num_frames,
                frame_rate=float(self._config.clock.fps),
                audio_s=video.sound_s,
                first_chunk_s=talk.first_chunk_s,
                total_s=total_s,
                models=talk.models,
            )
        )


class _Talk:
    """The part of a request that needs the graph: question in, reply onto timeline, video out."""

    def __init__(
        self,
        session: Session,
        config: AppConfig,
        video: ThreadedMp4Writer,
        emit: Emit,
        clock: Callable[[], float],
        started: float,
    ) -> None:
        self.first_chunk_s = 0.0
        self.models: tuple[str, ...] = ()
        self.session = session
        self._limits = config.limits
        self._chunk_clock = config.clock
        self._timeline = Timeline(config.clock, session.id, session.fence)
        self._video = video
        self._emit_unordered = emit
        self._emitting = asyncio.Lock()
        self._clock = clock
        self._started = started
        self._news = asyncio.Event()

    async def run(self, question: Iterable[Chunk]) -> None:
        async with task_group() as tasks:
            asking = tasks.create_task(self._ask(question))
            tasks.create_task(self._listen())
            tasks.create_task(self._feed())
            await self._collect()
            asking.cancel()

    async def speak(self, speech: NDArray[np.float32]) -> None:
        """Show (S,) at SOUND_RATE; audio_llm has nothing to do."""
        self._timeline.push(speech)
        self._timeline.finish()
        if self._timeline.chunks_known == 0:
            raise InvalidInput("there is no sound in this file; send a recording of speech")
        async with task_group() as tasks:
            tasks.create_task(self._feed())
            await self._collect()

    async def _ask(self, question: Iterable[Chunk]) -> None:
        for chunk in question:
            await self.session.tell(chunk)

    async def _listen(self) -> None:
        """Lay the reply onto the timeline until it is complete."""
        is_complete = False
        while not is_complete:
            match await self._hear():
                case AudioChunk(samples=samples, sample_rate=sample_rate):
                    self._timeline.push(samples, sample_rate)
                    if self._timeline.sound_s > self._limits.reply_s:
                        raise TooLarge(f"the reply is longer than {self._limits.reply_s:g} s")
                    self._news.set()
                case TurnEvent(kind="transcript", text=text):
                    await self._emit(Transcript(text))
                case TurnEvent(kind="reply", text=text, cues=cues):
                    self._timeline.add_cues(cues)
                    await self._emit(ReplySentence(text))
                case TurnEvent(kind="end_of_reply", text=models):
                    self.models = tuple(models.splitlines())
                    is_complete = True
                case other:
                    raise InvalidInput(f"audio_llm sent {type(other).__name__} as part of a reply")
        self._timeline.finish()
        if self._timeline.chunks_known == 0:
            raise InvalidInput("there is nothing in this text that can be spoken; send words")
        self._news.set()

    async def _hear(self) -> Chunk:
        patience_s = self._limits.first_reply_s
        try:
            async with asyncio.timeout(patience_s):
                chunk = await self.session.hear()
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the reply did not go on within {patience_s:g} s; is the chat model too slow?"
            ) from error
        if chunk is None:
            raise AvatarError("audio_llm ended before its reply was complete")
        return chunk

    async def _feed(self) -> None:
        """Send the reply's chunks into the chain, as soon as they are known."""
        while not self._timeline.is_given_out:
            chunk = self._timeline.next_chunk()
            if chunk is None:
                self._news.clear()
                await self._news.wait()
            else:
                await self.session.send(chunk)
        await self.session.finish()

    async def _collect(self) -> None:
        """Encode what comes out of the chain, until the last chunk has."""
        done = 0
        while (chunk := await self.session.next_frames()) is not None:
            done += 1
            elapsed_s = self._clock() - self._started
            self.first_chunk_s = self.first_chunk_s or elapsed_s
            await self._video.add(chunk.frames, self._timeline.take_sound())
            media_s = done * self._chunk_clock.chunk_s
            await self._emit(ChunkReady(done, self._timeline.chunks_known, media_s, elapsed_s))

    async def _emit(self, step: TalkStep) -> None:
        async with self._emitting:
            await self._emit_unordered(step)


@contextmanager
def _counted(request: str, clock: Callable[[], float]) -> Iterator[None]:
    """Count a request, and log it, by how it ended."""
    started = clock()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    except AvatarError as error:
        outcome = error.reason.lower()
        raise
    finally:
        metrics.requests_total.labels(request, outcome).inc()
        took_s = round(clock() - started, 3)
        log.info("request_ended", request=request, outcome=outcome, seconds=took_s)


def _turn(session: Session, seq: int, kind: TurnKind, text: str = "") -> TurnEvent:
    return TurnEvent(_stamp(session.id, session.fence, seq), kind, text)


def _stamp(session: SessionId, fence: int, seq: int, pts: int = 0) -> Stamp:
    return Stamp(session, epoch=0, seq=seq, fence=fence, pts=pts)


def _spoken(session: Session, speech: NDArray[np.float32]) -> list[Chunk]:
    """A question as pieces of a second, then the word that it is complete."""
    size = round(QUESTION_PIECE_S * SPEECH_RATE)
    pieces: list[Chunk] = [
        AudioChunk(
            _stamp(session.id, session.fence, seq, seq * 48_000), speech[start : start + size]
        )
        for seq, start in enumerate(range(0, speech.size, size))
    ]
    return [*pieces, _turn(session, len(pieces), "end_of_question")]
