"""Videos of any container and codec as 25 frames a second with their sound; and clips written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from avatar.errors import InvalidInput, TooLarge

FPS = 25
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)
_JITTER_S = 0.04
"""Time stamps of sound are trusted beyond this: below it, they are rounding."""
_AT_LEAST = 8
"""Pixels: what any codec can hold."""


@dataclass(frozen=True)
class Limits:
    seconds: float = 3600.0
    side: int = 4096
    """Pixels of the longer side."""


def read_frames(path: Path, limits: Limits | None = None) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) RGB frames; frame i is what is shown at (i + 0.5) / 25 s after the first frame.

    Whatever the file's own rate, even or not. A turned picture is set upright, pixels are made
    square. Frames that repeat are one array.

    Raises:
        InvalidInput: No video, or damaged.
        TooLarge: Over the limits.
    """
    limits = limits or Limits()
    with _opened(path) as file:
        stream = _video_of(file, path)
        step = 1.0 / float(stream.average_rate or FPS)
        origin: float | None = None
        end, index = 0.0, 0
        shown: _Shown | None = None
        size: tuple[int, int] | None = None
        for frame in file.decode(stream):
            if max(frame.width, frame.height) > limits.side:
                pixels = f"{frame.width}x{frame.height}"
                raise TooLarge(f"{pixels} pixels, at most {limits.side} a side: make it smaller")
            # a frame without a time follows the one before
            time = frame.time if frame.pts is not None else (origin or 0.0) + end
            origin = time if origin is None else origin
            time -= origin
            if time > limits.seconds:
                raise TooLarge(f"longer than {limits.seconds:g} s: cut it into parts")
            while shown is not None and (index + 0.5) / FPS < time - 1e-6:
                yield shown.picture()
                index += 1
            size = size or _square_size(frame)  # of the first, if it should change
            shown = _Shown(frame, size)
            lasts = float(frame.duration * frame.time_base) if frame.time_base else 0.0
            end = time + (lasts or step)
        while shown is not None and (index + 0.5) / FPS < end - 1e-6:
            yield shown.picture()
            index += 1
        if index == 0:
            raise InvalidInput(f"{path.name} holds no frame that can be decoded")


def read_sound(path: Path, num_frames: int) -> NDArray[np.float32] | None:
    """num_frames * 640 samples, mono at 16 kHz, beside the frames of `read_frames`; None without.

    Gaps in the sound are silence; it begins where the picture does.
    """
    with _opened(path) as file:
        if not file.streams.audio:
            return None
        origin = _first_time(path)
        samples = np.zeros(num_frames * SAMPLES_PER_FRAME, np.float32)
        to_mono = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        expected: int | None = None
        for frame in _with_end(file.decode(file.streams.audio[0])):
            for mono in to_mono.resample(frame):
                told = expected
                if mono.time is not None:
                    told = round((mono.time - origin) * SAMPLE_RATE)
                near = (
                    None not in (told, expected)
                    and abs((told or 0) - (expected or 0)) < _JITTER_S * SAMPLE_RATE
                )
                start = (expected if near else told) or 0
                _place(samples, mono.to_ndarray()[0], start)
                expected = start + mono.samples
        return np.clip(np.nan_to_num(samples), -1.0, 1.0)


def write_clip(path: Path, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> None:
    """(T, H, W, 3) RGB and its (T * 640,) sound as Matroska: H.264, nearly lossless, and FLAC."""
    partial = path.with_suffix(f".partial{path.suffix}")
    with av.open(str(partial), "w", format="matroska") as file:
        video = file.add_stream("libx264", rate=FPS)
        assert isinstance(video, VideoStream)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.options = {"preset": "veryfast", "crf": "10"}
        video.codec_context.thread_count = 1
        audio = file.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        assert isinstance(audio, AudioStream)
        for index, picture in enumerate(frames):
            shown = VideoFrame.from_ndarray(picture, format="rgb24")
            shown.pts, shown.time_base = index, Fraction(1, FPS)
            file.mux(video.encode(shown))
        whole = np.clip(sound * 32767.0, -32768, 32767).astype(np.int16)
        heard = AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        heard.sample_rate, heard.time_base, heard.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
        file.mux(audio.encode(heard))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))
    partial.replace(path)


class _Shown:
    """A decoded frame, made into a picture once, and only if it is shown at all."""

    def __init__(self, frame: VideoFrame, size: tuple[int, int]) -> None:
        self._frame, self._size = frame, size
        self._picture: NDArray[np.uint8] | None = None

    def picture(self) -> NDArray[np.uint8]:
        if self._picture is None:
            width, height = self._size
            rgb = self._frame.reformat(width, height, format="rgb24").to_ndarray()
            quarters = round(self._frame.rotation / 90.0) % 4
            self._picture = np.ascontiguousarray(np.rot90(rgb, quarters))
        return self._picture


def _square_size(frame: VideoFrame) -> tuple[int, int]:
    """Width and height with square pixels."""
    aspect = getattr(frame, "sample_aspect_ratio", None)
    width = round(frame.width * float(aspect)) if aspect else frame.width
    return max(width, _AT_LEAST), max(frame.height, _AT_LEAST)


def _with_end(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame | None]:
    """And None after the last, which makes a resampler give what it holds back."""
    yield from frames
    yield None


def _place(samples: NDArray[np.float32], piece: NDArray[np.float32], start: int) -> None:
    """Copy what of `piece` lies within `samples`, from `start`, which may be negative."""
    first, last = max(start, 0), min(start + len(piece), len(samples))
    if last > first:
        samples[first:last] = piece[first - start : last - start]


def _first_time(path: Path) -> float:
    """Seconds of the first frame on the file's own clock."""
    with _opened(path) as file:
        for frame in file.decode(_video_of(file, path)):
            return frame.time or 0.0
    return 0.0


def _video_of(file: InputContainer, path: Path) -> VideoStream:
    pictures = [s for s in file.streams.video if Disposition.attached_pic not in s.disposition]
    if not pictures:
        raise InvalidInput(f"{path.name} holds no video")
    pictures[0].codec_context.thread_count = 1
    return pictures[0]


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    try:
        with av.open(str(path), "r") as file:
            yield file
    except av.FFmpegError as error:
        raise InvalidInput(f"{path.name} cannot be decoded: {error.strerror}") from error
