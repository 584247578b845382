"""Frames and sound into one MP4 (H.264, AAC), encoded as they arrive, beside the event loop."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from avatar.errors import Unavailable

R = TypeVar("R")


class Mp4Writer:
    """One video in the making; `async with` keeps its temporary file no longer than needed."""

    def __init__(self, fps: int, sound_rate: int) -> None:
        self._fps = fps
        self._sound_rate = sound_rate
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mp4")
        self._folder: Path | None = None
        self._file: av.container.OutputContainer | None = None
        self._video: VideoStream | None = None
        self._audio: AudioStream
        self._num_samples = 0
        self.num_frames = 0

    @property
    def sound_s(self) -> float:
        return self._num_samples / self._sound_rate

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # shielded: a client that goes away twice must not leave a file behind
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._drop))
        self._thread.shutdown(wait=False)

    async def add(self, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> None:
        """Encode (N, H, W, 3) uint8 RGB frames, and the (S,) float32 sound that goes with them."""
        await self._run(lambda: self._encode(frames, sound))

    async def finish(self) -> bytes:
        """The whole file, its index first, so that it plays while it is still being loaded."""
        return await self._run(self._finish)

    async def _run(self, work: Callable[[], R]) -> R:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            raise Unavailable(
                f"the video could not be written ({error.strerror}); make room under "
                f"{tempfile.gettempdir()}"
            ) from error

    def _encode(self, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> None:
        if self._video is None:
            self._open(*frames.shape[1:3])
        assert self._file is not None
        assert self._video is not None
        for picture in frames:
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = self.num_frames
            frame.time_base = Fraction(1, self._fps)
            self._file.mux(self._video.encode(frame))
            self.num_frames += 1
        piece = AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        piece.sample_rate = self._sound_rate
        piece.pts = self._num_samples
        piece.time_base = Fraction(1, self._sound_rate)
        self._file.mux(self._audio.encode(piece))
        self._num_samples += sound.size

    def _open(self, height: int, width: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="talkingmachines-"))
        file = av.open(str(self._folder / "video.mp4"), "w", options={"movflags": "+faststart"})
        video = file.add_stream("libx264", rate=self._fps)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"preset": "veryfast", "crf": "18"}
        video.codec_context.thread_count = 1
        audio = file.add_stream("aac", rate=self._sound_rate, layout="mono")
        assert isinstance(audio, AudioStream)
        audio.bit_rate = 96_000
        self._file, self._video, self._audio = file, video, audio

    def _finish(self) -> bytes:
        assert self._file is not None, "finish() before any frame"
        assert self._video is not None
        assert self._folder is not None
        self._file.mux(self._video.encode(None))
        self._file.mux(self._audio.encode(None))
        self._file.close()
        self._file = None
        return (self._folder / "video.mp4").read_bytes()

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
