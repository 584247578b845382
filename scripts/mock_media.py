"""Draws what the SDK's mock server shows: a second of MP4, and a picture in each format.

python scripts/mock_media.py
"""

import io
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatar.audio.video import Mp4Writer

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT / "sdk/talkingmachines/testing/media"
PORTRAIT = ROOT / "avatar/assets/tiny/mira/portrait.png"
SIZE, FPS, RATE = 96, 25, 24_000
CODECS = {"face.vp8": "libvpx", "face.h264": "libx264"}


def main() -> int:
    MEDIA.mkdir(parents=True, exist_ok=True)
    face = Image.open(PORTRAIT).convert("RGB").resize((SIZE, SIZE))
    pixels = np.asarray(face)
    jpeg = io.BytesIO()
    face.save(jpeg, "JPEG", quality=75)
    (MEDIA / "face.jpg").write_bytes(jpeg.getvalue())
    for name, codec in CODECS.items():
        (MEDIA / name).write_bytes(key_frame(codec, pixels))
    with Mp4Writer(FPS, RATE) as writer:
        time_s = np.arange(RATE) / RATE
        tone = (0.1 * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)
        writer.add(np.repeat(pixels[None], FPS, 0), tone)
        (MEDIA / "answer.mp4").write_bytes(writer.finish())
    for path in sorted(MEDIA.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")
    return 0


def key_frame(codec: str, pixels: NDArray[np.uint8]) -> bytes:
    """One picture, (H, W, 3) RGB, that needs none before."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = SIZE
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, FPS)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


if __name__ == "__main__":
    sys.exit(main())
