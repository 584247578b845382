"""Video files made beside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from avatar.audio.video import Mp4Writer

R = TypeVar("R")


class ThreadedMp4Writer:
    """An `Mp4Writer` whose work is done, in order, by one thread of its own."""

    def __init__(self, fps: int, sound_rate: int) -> None:
        self._writer = Mp4Writer(fps, sound_rate)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mp4")

    @property
    def num_frames(self) -> int:
        return self._writer.num_frames

    @property
    def sound_s(self) -> float:
        return self._writer.sound_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # shielded: the encoder is closed also when a client goes away twice
        await asyncio.shield(self._run(self._writer.close))
        self._thread.shutdown(wait=False)

    async def add(self, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> None:
        """Encode (N, H, W, 3) uint8 RGB frames, and the (S,) float32 sound that goes with them."""
        await self._run(lambda: self._writer.add(frames, sound))

    async def finish(self) -> bytes:
        """The whole file."""
        return await self._run(self._writer.finish)

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
