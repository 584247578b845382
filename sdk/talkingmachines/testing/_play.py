"""What a mock avatar plays: a tone for speech, one face, a word every 0.3 seconds."""

import array
import importlib.resources
import math
from functools import cache
from typing import Final

from talkingmachines_api.v1 import live_pb2

RATE: Final = 48_000
BLOCK_SAMPLES: Final = 960
BLOCK_BYTES: Final = 2 * BLOCK_SAMPLES
BLOCK_MS: Final = 20
BLOCKS_A_WORD: Final = 15
BLOCKS_A_PICTURE: Final = 2
WORD_S: Final = BLOCKS_A_WORD * BLOCK_MS / 1000
TONE_HZ: Final = 250
"""A whole number of waves in a block: blocks join without a click."""
OPUS_SILENCE: Final = b"\xf8\xff\xfe"
_FACES: Final = {
    live_pb2.PICTURE_FORMAT_UNSPECIFIED: "face.jpg",
    live_pb2.PICTURE_FORMAT_JPEG: "face.jpg",
    live_pb2.PICTURE_FORMAT_VP8: "face.vp8",
    live_pb2.PICTURE_FORMAT_H264: "face.h264",
}


@cache
def media(name: str) -> bytes:
    return (importlib.resources.files(__package__) / "media" / name).read_bytes()


def face(pictures: int) -> bytes | None:
    """The picture, which needs none before; None where none is wanted."""
    name = _FACES.get(live_pb2.PictureFormat.ValueType(pictures))
    return media(name) if name else None


@cache
def tone() -> bytes:
    """A block of speech."""
    wave = (math.sin(2 * math.pi * TONE_HZ * n / RATE) for n in range(BLOCK_SAMPLES))
    return array.array("h", (round(8000 * level) for level in wave)).tobytes()


def at_played_rate(samples: bytes, rate: int) -> bytes:
    """16-bit sound at 48 kHz, each sample the nearest one."""
    given = array.array("h", samples)
    wanted = len(given) * RATE // rate
    return array.array("h", (given[n * rate // RATE] for n in range(wanted))).tobytes()
