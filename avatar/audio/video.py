"""Frames and sound into one MP4 (H.264, AAC), in memory."""

import io
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

SOUND_RATE = 24_000
"""Sample rate, in hertz, of the sound that people hear."""


class Mp4Writer:
    """Encodes as frames arrive.

    In memory, about 60 KB a second: FFmpeg's muxer crashes the process when a disk is full.
    """

    def __init__(self, fps: int, sound_rate: int = SOUND_RATE) -> None:
        self._fps, self._sound_rate = fps, sound_rate
        self._content = io.BytesIO()
        self._file: av.container.OutputContainer | None = None
        self._video: VideoStream
        self._audio: AudioStream
        self._num_samples = 0
        self.num_frames = 0

    @property
    def sound_s(self) -> float:
        return self._num_samples / self._sound_rate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> None:
        """Encode (N, H, W, 3) uint8 RGB frames, and the (S,) float32 sound that goes with them."""
        if self._file is None:
            self._file = self._open(*frames.shape[1:3])
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

    def finish(self) -> bytes:
        """The whole file."""
        assert self._file is not None, "finish() before any frame"
        self._file.mux(self._video.encode(None))
        self._file.mux(self._audio.encode(None))
        self.close()
        return self._content.getvalue()

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, height: int, width: int) -> av.container.OutputContainer:
        file = av.open(self._content, "w", format="mp4")
        video = file.add_stream("libx264", rate=self._fps)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"preset": "veryfast", "crf": "18"}
        video.codec_context.thread_count = 1
        audio = file.add_stream("aac", rate=self._sound_rate, layout="mono")
        assert isinstance(audio, AudioStream)
        audio.bit_rate = 96_000
        self._video, self._audio = video, audio
        return file
