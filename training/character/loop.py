"""A character's preview for the page: seconds at rest, there and back, so that it loops."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from avatar.media import SPEECH_RATE
from avatar.render import Pipeline, render_chunks

SECONDS = 4.8
SEED = 7


def preview(pipeline: Pipeline, avatar: str, seconds: float = SECONDS) -> bytes:
    """An MP4 without sound of the avatar, nobody speaking."""
    silence = np.zeros(round(seconds * SPEECH_RATE), np.float32)
    chunks = render_chunks(pipeline, silence, avatar, seed=SEED)
    there = [frame for chunk in chunks for frame in chunk.frames]
    return encoded([*there, *reversed(there[1:-1])], pipeline.clock.fps)


def encoded(frames: Sequence[NDArray[np.uint8]], fps: int) -> bytes:
    """An MP4 without sound."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=fps)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.options = "yuv420p", {"preset": "veryslow", "crf": "26"}
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return content.getvalue()
