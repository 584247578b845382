"""Small real MP4 files, made on the spot."""

import functools
import io
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

FRAME_RATE = 25
SAMPLE_RATE = 24_000
SIZE = 256


@functools.cache
def mp4_bytes(
    num_frames: int = 25, *, sound: Literal["speech", "tone", "none"] = "speech"
) -> bytes:
    """H.264 and AAC as the server sends them.

    The picture: a mouth that opens and closes on grey, and lower left a lamp that blinks faster.
    The sound: a tone, as loud as the mouth is open, or steady.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(_picture(index), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound != "none":
            opening = [mouth_opening(index) for index in range(num_frames)]
            loudness = np.repeat(opening, SAMPLE_RATE // FRAME_RATE)
            level = loudness if sound == "speech" else np.full_like(loudness, 0.5)
            tone = 0.4 * level * np.sin(2 * np.pi * 220 / SAMPLE_RATE * np.arange(len(level)))
            samples = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], "fltp", "mono")
            samples.sample_rate = SAMPLE_RATE
            samples.pts = 0  # else the encoder's own delay shifts the sound
            samples.time_base = Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
    return file.getvalue()


def mouth_opening(index: int) -> float:
    """0 to 1; widest at every eighth frame."""
    return abs(index % 8 - 4) / 4


def _picture(index: int) -> NDArray[np.uint8]:
    """(height, width, 3)."""
    picture = np.full((SIZE, SIZE, 3), 150, np.uint8)
    half_height = 4 + round(16 * mouth_opening(index))
    picture[180 - half_height : 180 + half_height, 100:156] = (60, 20, 20)
    if index % 3:
        picture[130:220, 52:80] = (255, 255, 200)
    return picture
