"""Arrays that a device would still be making: they are there when a test says so."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avatar.media import AudioEmbedding, LatentChunk
from avatar.transport import OpenRequest

PATIENCE_S = 30


@dataclass
class Making:
    """An `Underway`: `finish` lets it land, `fail` is what waiting for it raises."""

    array: NDArray[np.float32]
    seconds: float = 0.25
    fail: Exception | None = None
    over: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def wait(self) -> NDArray[np.float32]:
        self._until_over()
        return self.array

    def took_s(self) -> float:
        self._until_over()
        return self.seconds

    def finish(self) -> None:
        self.over.set()

    def _until_over(self) -> None:
        self.waiting.set()
        assert self.over.wait(PATIENCE_S), "the test never let it land"
        if self.fail is not None:
            raise self.fail


class AsyncPainter:
    """A score engine whose latents, all equal to the chunk's number, are made by and by."""

    def __init__(self, makings: Sequence[Making]) -> None:
        self.makings = list(makings)

    def init_state(self, request: OpenRequest, /) -> int:
        return 0

    def step(self, chunk: AudioEmbedding, state: int, /) -> tuple[LatentChunk, int]:
        return LatentChunk(chunk.stamp, self.makings[state], chunk.last), state + 1


def makings(count: int) -> list[Making]:
    return [Making(np.full((1, 1, 2, 2), i, np.float32)) for i in range(count)]
