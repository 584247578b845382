"""The picture of the marker profile: numbers as black and white blocks, drawn and read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar.media import BEHAVIOURS, CUES, Behaviour, CueName
from avatar.speech.marker import STALL_STAGES, Stall

CELLS = 8
"""Blocks on each side: 32 pixels each in a picture of 256, which survives any video codec."""
PHASE_STEP_MS = 0.25
EARLIEST_PHASE_MS = -32.0
"""A frame shows the last symbol whose 32 ms of sound are over by the frame's end."""
FRAME_NUMBERS = 1 << 16
EPOCHS = 1 << 4

_WHITE, _BLACK = 235, 16
_CLEAR = 80
"""A block this near to the middle grey is none of ours: a cross-fade, or damage."""


@dataclass(frozen=True)
class Mark:
    """What one frame shows.

    `frame` is its number in the session, modulo FRAME_NUMBERS, which is its media time in frames;
    `epoch` is modulo EPOCHS. `symbol` is the tone that belongs to it, None where there is none;
    `phase_ms` says how long after the frame's beginning that tone's onset is: -32 to 8 ms at
    25 fps, -32 to 30.5 ms at 16.
    `behaviour` and `cue` are what the score worker was told; a stall hides the cue.
    """

    frame: int
    epoch: int
    symbol: int | None = None
    phase_ms: float = 0.0
    stall: Stall | None = None
    behaviour: Behaviour = "idle"
    cue: CueName | None = None


Blocks = NDArray[np.bool_]
"""(8, 8), True is white."""


def blocks_of(mark: Mark) -> Blocks:
    """The last row is a light that walks one block a frame, so that no two frames look alike."""
    phase = round((mark.phase_ms - EARLIEST_PHASE_MS) / PHASE_STEP_MS)
    stage = 0 if mark.stall is None else 1 + STALL_STAGES.index(mark.stall.stage)
    cue = 0 if mark.cue is None else 1 + CUES.index(mark.cue)
    units = cue if mark.stall is None else mark.stall.units
    fields = [
        (0b10, 2),  # always: a white block and a black one
        (mark.symbol is not None, 1),
        (mark.symbol or 0, 8),
        (phase if mark.symbol is not None else 0, 8),
        (mark.frame % FRAME_NUMBERS, 16),
        (mark.epoch % EPOCHS, 4),
        (stage, 2),
        (units, 5),
        (BEHAVIOURS.index(mark.behaviour), 2),
    ]
    bits = [bool(value >> at & 1) for value, size in fields for at in reversed(range(size))]
    bits += [bool(_checksum(bits) >> at & 1) for at in reversed(range(8))]
    walking = np.arange(CELLS) == mark.frame % CELLS
    return np.concatenate([np.array(bits), walking]).reshape(CELLS, CELLS)


def mark_of(blocks: Blocks) -> Mark | None:
    """What `blocks_of` was given, or None where the blocks contradict each other."""
    bits = [bool(each) for each in blocks.reshape(-1)]
    values, at = [], 0
    for size in (2, 1, 8, 8, 16, 4, 2, 5, 2, 8):
        values.append(sum(bit << place for place, bit in enumerate(reversed(bits[at : at + size]))))
        at += size
    fixed, has_symbol, symbol, phase, frame, epoch, stage, units, behaviour, checksum = values
    if fixed != 0b10 or checksum != _checksum(bits[:48]) or not bits[56 + frame % CELLS]:
        return None
    if not stage and units > len(CUES):
        return None
    phase_ms = EARLIEST_PHASE_MS + phase * PHASE_STEP_MS
    return Mark(
        frame,
        epoch,
        symbol if has_symbol else None,
        phase_ms if has_symbol else 0.0,
        Stall(STALL_STAGES[stage - 1], units) if stage else None,
        BEHAVIOURS[behaviour],
        CUES[units - 1] if units and not stage else None,
    )


def draw(blocks: Blocks, height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3) grey picture; both are multiples of 8."""
    levels = np.where(blocks, _WHITE, _BLACK).astype(np.uint8)
    grey = levels.repeat(height // CELLS, 0).repeat(width // CELLS, 1)
    return np.repeat(grey[..., None], 3, 2)


def read(picture: NDArray[np.uint8]) -> Mark | None:
    """The mark in a picture, (H, W) luma or (H, W, 3), however it was scaled or compressed.

    None where it shows none: it fades into another one, or is damaged.
    """
    luma = picture[..., 1] if picture.ndim == 3 else picture  # it is drawn in grey
    height, width = luma.shape[0] // CELLS, luma.shape[1] // CELLS
    cells = luma[: CELLS * height, : CELLS * width].reshape(CELLS, height, CELLS, width)
    # edges of blocks are blurred: only the middle of each is looked at
    inner = cells[:, height // 4 : -(height // 4) or None, :, width // 4 : -(width // 4) or None]
    levels = inner.mean(axis=(1, 3), dtype=np.float32)
    middle = (_WHITE + _BLACK) / 2
    if np.abs(levels - middle).min() < _CLEAR:
        return None
    return mark_of(levels > middle)


def _checksum(bits: list[bool]) -> int:
    """CRC-8, polynomial 0x07."""
    value = 0xFF
    for bit in bits:
        carry = (value >> 7 & 1) != bit
        value = (value << 1 & 0xFF) ^ (0x07 if carry else 0)
    return value
