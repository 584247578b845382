"""Raw sound in pieces, checked before anything is sent."""

from collections.abc import Iterator
from typing import Final

from talkingmachines._errors import InvalidInput

RATES: Final = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
SAMPLE_BYTES: Final = 2

Pcm = bytes | bytearray | memoryview
"""Mono, 16-bit little endian."""


def pieces(samples: Pcm, rate: int, longest_s: float) -> Iterator[tuple[bytes, float]]:
    """`samples` in pieces, each with its length in seconds; nothing of an empty one.

    Raises:
        InvalidInput: If it is no such sound.
    """
    content = bytes(samples)
    if rate not in RATES:
        known = ", ".join(map(str, RATES))
        raise InvalidInput(f"{rate} samples a second: resample to one of {known}.")
    if len(content) % SAMPLE_BYTES:
        raise InvalidInput(f"{len(content)} bytes are no 16-bit samples: give two bytes each.")
    step = max(1, int(longest_s * rate)) * SAMPLE_BYTES
    return (
        (piece, len(piece) / SAMPLE_BYTES / rate)
        for piece in (content[at : at + step] for at in range(0, len(content), step))
    )
