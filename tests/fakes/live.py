"""A live session without a graph: what goes in and comes out is in the test's hands."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from avatar.media import (
    AudioChunk,
    Chunk,
    FrameChunk,
    SessionId,
    Stamp,
    TurnEvent,
    TurnKind,
    Word,
)
from services.gateway.coordinator import Answers, Session
from services.gateway.ladder import LIGHT
from services.gateway.media import Block

SIDE = 4
SESSION = SessionId("s")


@dataclass
class FakeSession:
    """Stands where the leases and edges are; a full chunk takes `latency_s`, on the loop's clock.

    The frames show how loud the model's speech was, frame by frame.
    """

    latency_s: float = 0.25
    id: SessionId = SESSION
    avatar: str = "mira"
    fence: int = 1
    epoch: int = 0
    answers: Answers = "server"
    told: list[Chunk] = field(default_factory=list)
    sent: list[AudioChunk] = field(default_factory=list, repr=False)
    swaps: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.to_say: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._frames: asyncio.Queue[FrameChunk | Exception] = asyncio.Queue()
        self._busy_until = 0.0

    @property
    def as_session(self) -> Session:
        return cast(Session, self)

    async def tell(self, chunk: Chunk) -> None:
        self.told.append(chunk)

    async def hear(self) -> Chunk | None:
        return await self.to_say.get()

    async def send(self, chunk: AudioChunk) -> None:
        self.sent.append(chunk)
        loop = asyncio.get_running_loop()
        takes_s = self.latency_s * (LIGHT if chunk.stamp.is_light else 1)
        self._busy_until = max(loop.time(), self._busy_until) + takes_s
        loop.call_at(self._busy_until, self.made, chunk)

    def made(self, chunk: AudioChunk) -> None:
        self._frames.put_nowait(self._draw(chunk))

    async def raise_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    async def swap(self, avatar: str) -> None:
        self.avatar = avatar
        self.swaps.append((avatar, len(self.sent)))

    async def next_frames(self) -> FrameChunk | None:
        chunk = await self._frames.get()
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def fail(self, error: Exception) -> None:
        self._frames.put_nowait(error)

    def orders(self) -> list[tuple[TurnKind, str]]:
        return [(each.kind, each.text) for each in self.told if isinstance(each, TurnEvent)]

    # what audio_llm says

    def say(self, kind: TurnKind, text: str = "", seconds: float = 0.0, epoch: int = 0) -> None:
        self.to_say.put_nowait(TurnEvent(self._stamp(epoch), kind, text, seconds))

    def reply(self, text: str, seconds: float, epoch: int = 0, pitch_hz: float = 220.0) -> None:
        """A sentence, its words evenly spread over a tone."""
        parts = text.split()
        step = seconds / len(parts)
        words = tuple(Word(w, i * step, (i + 1) * step) for i, w in enumerate(parts))
        self.to_say.put_nowait(TurnEvent(self._stamp(epoch), "reply", text, 0.0, words))
        time = np.arange(round(seconds * 24_000)) / 24_000
        sound = (0.5 * np.sin(2 * np.pi * pitch_hz * time)).astype(np.float32)
        self.to_say.put_nowait(AudioChunk(self._stamp(epoch), sound, 24_000))

    def _stamp(self, epoch: int) -> Stamp:
        return Stamp(self.id, epoch, 0, self.fence, 0)

    def _draw(self, chunk: AudioChunk) -> FrameChunk:
        loud = np.abs(chunk.samples.reshape(12, -1)).mean(1) > 0.01
        frames = np.zeros((12, SIDE, SIDE, 3), np.uint8)
        frames[:] = np.where(loud, 200, 50)[:, None, None, None]
        return FrameChunk(chunk.stamp, frames)


@dataclass
class FakePeer:
    """Keeps what was played and told."""

    blocks: list[tuple[float, Block]] = field(default_factory=list, repr=False)
    events: list[dict[str, Any]] = field(default_factory=list)

    def play(self, block: Block) -> None:
        self.blocks.append((asyncio.get_running_loop().time(), block))

    def tell(self, event: dict[str, object]) -> None:
        self.events.append(event)

    @property
    def sound(self) -> NDArray[np.int16]:
        return np.concatenate([block.sound for _, block in self.blocks])

    @property
    def mouths(self) -> list[tuple[int, int]]:
        """(instant in samples at 48 kHz, how wide the mouth is)."""
        return [(p.at, int(p.pixels[0, 0, 0])) for _, b in self.blocks for p in b.pictures]

    def told(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    def first_sound_s(self) -> float:
        """When sound was first played, on the loop's clock."""
        return next(at for at, block in self.blocks if block.sound.any())
