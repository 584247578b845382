"""Small real MP4 files, made on the spot."""

import functools
import io

import av
import numpy as np

FRAME_RATE = 25
SAMPLE_RATE = 24_000
SIZE = 256


@functools.cache
def mp4_bytes(num_frames: int = 25) -> bytes:
    """H.264 and AAC as the server sends them: a tone, and a mouth opening and closing on grey."""
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
        num_samples = num_frames * SAMPLE_RATE // FRAME_RATE
        tone = 0.2 * np.sin(2 * np.pi * 220 / SAMPLE_RATE * np.arange(num_samples))
        sound = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], "fltp", "mono")
        sound.sample_rate = SAMPLE_RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return file.getvalue()


def _picture(index: int) -> np.ndarray:
    """(height, width, 3) uint8; the dark mouth is widest open at every eighth frame."""
    picture = np.full((SIZE, SIZE, 3), 150, np.uint8)
    opening = 4 + 4 * (4 - abs(index % 8 - 4))
    picture[180 - opening : 180 + opening, 100:156] = (60, 20, 20)
    return picture
