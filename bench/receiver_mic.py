"""The caller's microphone: silence, and recordings when they are told to be spoken."""

import asyncio
from collections import deque
from fractions import Fraction

import numpy as np
from aiortc import MediaStreamTrack
from av import AudioFrame
from numpy.typing import NDArray

from avatar.audio.resample import resample
from bench.receiver_tracks import SOUND_RATE

FRAME = SOUND_RATE // 50


class Mic(MediaStreamTrack):
    """20 ms of sound every 20 ms, at 48 kHz; a recording begins with the next 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._started: float | None = None
        self._num_sent = 0
        self._queue: deque[tuple[NDArray[np.int16], asyncio.Future[float]]] = deque()
        self._rest = np.zeros(0, np.int16)
        self._echo: deque[NDArray[np.int16]] = deque(maxlen=10)
        self.echo_gain = 0.0
        """How much of what the avatar says leaks from the loudspeaker into the microphone."""

    async def speak(self, samples: NDArray[np.float32], sample_rate: int) -> float:
        """Speak (S,) samples; returns the monotonic instant at which the first one was due."""
        sound = resample(samples, sample_rate, SOUND_RATE)
        pcm = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
        begun: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._queue.append((pcm, begun))
        return await begun

    def hush(self) -> None:
        """Stop speaking, and forget what was still to be spoken."""
        self._rest = self._rest[:0]
        while self._queue:
            self._queue.popleft()[1].cancel()

    def overhear(self, played: NDArray[np.int16]) -> None:
        """The loudspeaker plays these 20 ms."""
        if self.echo_gain:
            self._echo.append((played * self.echo_gain).astype(np.int16))

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        if self._started is None:
            self._started = loop.time()
        due = self._started + self._num_sent / SOUND_RATE
        await asyncio.sleep(max(0.0, due - loop.time()))
        if not self._rest.size and self._queue:
            self._rest, begun = self._queue.popleft()
            if not begun.done():
                begun.set_result(due)  # when late, what follows is sent faster: the end is on time
        piece, self._rest = self._rest[:FRAME], self._rest[FRAME:]
        pcm = np.zeros((1, FRAME), np.int16)
        pcm[0, : piece.size] = piece
        if self._echo:
            echo = self._echo.popleft()[:FRAME]
            pcm[0, : echo.size] += echo
        frame = AudioFrame.from_ndarray(pcm, "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._num_sent, _TICK
        self._num_sent += FRAME
        return frame


_TICK = Fraction(1, SOUND_RATE)
