"""A call's sound and pictures as packets: Opus, and VP8 or H.264 at a rate the network takes."""

import io
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from PIL import Image

from avatar.timebase import TICKS_PER_SECOND
from services.gateway.media import BLOCK_SAMPLES, PLAYED_RATE, Block, Picture
from services.gateway.sdp import PictureCodec

SOUND_TIME_BASE: Final = Fraction(1, PLAYED_RATE)
PICTURE_RATE: Final = 90_000
PICTURE_TIME_BASE: Final = Fraction(1, PICTURE_RATE)
SOUND_BITS_PER_S: Final = 48_000
EXPECTED_LOSS_PERCENT: Final = 10
"""Opus spends bits on repairing such a loss; with 0 it would send no repair at all."""
OPUS_AHEAD: Final = 312
"""Samples by which decoded Opus lags behind its timestamps: libopus looks so far ahead."""

START_BITS_PER_S: Final = 1_000_000
START_PIXELS: Final = 256 * 256
USUAL_FPS: Final = 25
"""Pictures of this size start at START_BITS_PER_S; four times as many pixels take twice that."""
RAISE_INTERVAL_S: Final = 5.0
LOWER_INTERVAL_S: Final = 1.0
RAISE_FROM: Final = 1.25

_VP8: Final = {
    "cpu-used": "-8",
    "deadline": "realtime",
    "lag-in-frames": "0",
    "noise-sensitivity": "0",  # the pictures are computed, there is no camera noise in them
    "overshoot-pct": "15",
    "partitions": "0",
    "static-thresh": "1",
    "undershoot-pct": "100",
}
_H264: Final = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "level": "31",
    "forced-idr": "1",
    "x264-params": "keyint=infinite:scenecut=0:repeat-headers=1",
}


FeedCodec = PictureCodec | Literal["JPEG"]
"""WebRTC's, and what needs no decoder that remembers."""
JPEG_QUALITY: Final = 85


class SoundEncoder:
    """Mono Opus for voices, with the loss of single packets repaired from the next ones."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        codec.bit_rate = SOUND_BITS_PER_S
        codec.format = "s16"
        codec.layout = "mono"
        codec.sample_rate = PLAYED_RATE
        codec.time_base = SOUND_TIME_BASE
        codec.options = {
            "application": "voip",
            "fec": "1",
            "packet_loss": str(EXPECTED_LOSS_PERCENT),
        }
        self._codec = codec
        self._num_encoded = 0

    def encode(self, block: Block) -> "Packet[Any]":
        """One packet a block; its pts is the block's `at`, in ticks, which are samples here."""
        frame = av.AudioFrame.from_ndarray(block.sound[None], format="s16", layout="mono")
        frame.sample_rate = PLAYED_RATE
        frame.time_base = SOUND_TIME_BASE
        frame.pts = self._num_encoded * BLOCK_SAMPLES  # even: `at` may jump, the encoder may not
        self._num_encoded += 1
        (packet,) = self._codec.encode(frame)
        packet.pts, packet.time_base = block.at, SOUND_TIME_BASE
        return packet


class PictureEncoder:
    """VP8 or H.264 without delay; begins anew, with a whole picture, where size or rate change."""

    def __init__(self, codec: PictureCodec, fps: int = USUAL_FPS) -> None:
        """`fps` is what bits are counted with; the pictures' own instants say when."""
        self._name, self._fps = codec, fps
        self._codec: VideoCodecContext | None = None
        self._bits_per_s = 0

    def encode(self, picture: Picture, bits_per_s: int, *, is_whole: bool) -> "Packet[Any] | None":
        """One packet, whose pts is the picture's `at` in 1/90000 s; None if it was left out.

        `is_whole`: decodable without the pictures before. The packet's `is_keyframe` says whether
        it is: one that begins anew is, too.
        """
        height, width, _ = picture.pixels.shape
        codec = self._codec
        if codec is None or (codec.width, codec.height, self._bits_per_s) != (
            width,
            height,
            bits_per_s,
        ):
            codec = self._codec = self._begin(width, height, bits_per_s)
        frame = av.VideoFrame.from_ndarray(picture.pixels, format="rgb24").reformat(
            format="yuv420p"
        )
        frame.pts = picture.at * PICTURE_RATE // TICKS_PER_SECOND
        frame.time_base = PICTURE_TIME_BASE
        if is_whole:
            frame.pict_type = av.video.frame.PictureType.I
        encoded = codec.encode(frame)
        content = b"".join(map(bytes, encoded))
        if not content:
            return None
        packet: Packet[Any] = Packet(content)
        packet.is_keyframe = any(each.is_keyframe for each in encoded)
        packet.pts, packet.time_base = frame.pts, PICTURE_TIME_BASE
        return packet

    def _begin(self, width: int, height: int, bits_per_s: int) -> VideoCodecContext:
        codec = av.CodecContext.create("libvpx" if self._name == "VP8" else "libx264", "w")
        codec.width, codec.height = width, height
        codec.pix_fmt = "yuv420p"
        codec.bit_rate = bits_per_s
        codec.time_base = PICTURE_TIME_BASE
        codec.framerate = Fraction(self._fps)
        codec.thread_count = 1
        rate = {"bufsize": str(bits_per_s), "maxrate": str(bits_per_s)}
        if self._name == "VP8":
            codec.gop_size = 3000
            codec.qmin, codec.qmax = 4, 56
            codec.options = {**_VP8, **rate, "minrate": str(bits_per_s)}
        else:
            codec.profile = "Baseline"
            codec.options = {**_H264, **rate}
        self._bits_per_s = bits_per_s
        return codec


class JpegEncoder:
    """Each picture by itself, whole, whatever rate is wanted."""

    def encode(self, picture: Picture, bits_per_s: int, *, is_whole: bool) -> "Packet[Any] | None":
        """As `PictureEncoder.encode`."""
        content = io.BytesIO()
        Image.fromarray(picture.pixels).save(content, "JPEG", quality=JPEG_QUALITY)
        packet: Packet[Any] = Packet(content.getvalue())
        packet.is_keyframe = True
        packet.pts = picture.at * PICTURE_RATE // TICKS_PER_SECOND
        packet.time_base = PICTURE_TIME_BASE
        return packet


def picture_encoder(codec: FeedCodec, fps: int = USUAL_FPS) -> PictureEncoder | JpegEncoder:
    return JpegEncoder() if codec == "JPEG" else PictureEncoder(codec, fps)


@dataclass(frozen=True)
class Bitrates:
    """Bits per second at which pictures of one size are encoded."""

    least: int
    start: int
    most: int

    @classmethod
    def of(cls, width: int, height: int) -> "Bitrates":
        start = round(START_BITS_PER_S * (width * height / START_PIXELS) ** 0.5)
        return cls(start // 5, start, 2 * start)


class RateControl:
    """Follows what the receiver says gets through (REMB), in few, large steps.

    Each step begins the encoder anew. An estimate grows to about 1.5 times of what was sent, so
    one above that says nothing against our rate: calm pictures need less than they may have.
    """

    def __init__(self, bitrates: Bitrates, clock: Callable[[], float]) -> None:
        self.bits_per_s = bitrates.start
        self._bitrates = bitrates
        self._clock = clock
        self._sent: deque[tuple[float, int]] = deque()
        self._changed_at = clock()

    def sent(self, num_bytes: int) -> None:
        now = self._clock()
        self._sent.append((now, 8 * num_bytes))
        while self._sent[0][0] < now - 1.0:
            self._sent.popleft()

    def on_estimate(self, bits_per_s: int) -> None:
        """The receiver estimates that this rate gets through."""
        now = self._clock()
        sent = sum(bits for at, bits in self._sent if at >= now - 1.0)
        wanted = max(self._bitrates.least, min(bits_per_s, self._bitrates.most))
        since_s = now - self._changed_at
        is_congested = bits_per_s < sent and wanted < self.bits_per_s
        is_free = wanted > RAISE_FROM * self.bits_per_s
        if (is_congested and since_s >= LOWER_INTERVAL_S) or (
            is_free and since_s >= RAISE_INTERVAL_S
        ):
            self.bits_per_s = wanted
            self._changed_at = now
