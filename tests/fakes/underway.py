"""Arrays that a device would still be making: they are there when a test says so."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from avatar.media import AudioEmbedding, FrameChunk, LatentChunk, on_host
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


S = TypeVar("S")
I_contra = TypeVar("I_contra", bound=AudioEmbedding | LatentChunk, contravariant=True)


class Steps(Protocol[S, I_contra]):
    def init_state(self, request: OpenRequest, /) -> S: ...

    def step(self, chunk: I_contra, state: S, /) -> tuple[LatentChunk | FrameChunk, S]: ...


@dataclass(frozen=True)
class Coming:
    """An `Underway` that a thread makes."""

    shape: tuple[int, ...]
    result: "Future[NDArray[Any]]"

    def wait(self) -> NDArray[Any]:
        return self.result.result(PATIENCE_S)

    def took_s(self) -> float:
        self.wait()
        return 0.0


class InAStream(Generic[S, I_contra]):
    """An engine whose steps are queued and made in order by a thread, as by a CUDA stream.

    Its state is what the queue will have made; a step waits in the queue for what it is given.
    """

    def __init__(self, engine: Steps[S, I_contra], shape: tuple[int, ...]) -> None:
        self._engine, self._shape = engine, shape
        self.stream = ThreadPoolExecutor(1)

    def init_state(self, request: OpenRequest, /) -> "Future[S]":
        return self.stream.submit(self._engine.init_state, request)

    def step(self, chunk: I_contra, state: "Future[S]", /) -> tuple[Any, "Future[S]"]:
        made = self.stream.submit(lambda: self._engine.step(chunk, state.result(PATIENCE_S)))
        array = self.stream.submit(lambda: on_host(made.result()[0].given))
        kind = LatentChunk if isinstance(chunk, AudioEmbedding) else FrameChunk
        output = kind(chunk.stamp, Coming(self._shape, array), chunk.last)
        return output, self.stream.submit(lambda: made.result()[1])
