"""Makes each character's preview for the page: seconds at rest, there and back, so it loops."""

import io
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avatar.cast.characters import CAST
from avatar.media import SPEECH_RATE
from avatar.render import Pipeline, render_chunks

SECONDS = 4.8
ASSETS = Path(__file__).resolve().parent.parent / "avatar" / "assets"


def main() -> None:
    profile = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    pipeline = Pipeline.load(profile)
    silence = np.zeros(round(SECONDS * SPEECH_RATE), np.float32)
    for character in CAST:
        chunks = render_chunks(pipeline, silence, character.id, seed=7)
        there = [frame for chunk in chunks for frame in chunk.frames]
        path = ASSETS / profile / character.id / "preview.mp4"
        path.write_bytes(encoded([*there, *reversed(there[1:-1])], pipeline.clock.fps))
        print(f"{path}: {path.stat().st_size} bytes")


def encoded(frames: list[np.ndarray], fps: int) -> bytes:
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


if __name__ == "__main__":
    main()
