"""The voice of the marker profile: what it says is a counter in tones, to measure time with."""

import re
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from avatar.errors import InvalidInput
from avatar.media import Word
from avatar.speech.text import checked, speakable
from avatar.speech.tones import SYMBOL_S, tone
from avatar.speech.tts import Speech, Voice

COUNT = 240
"""The counter's period: 9.6 s. The symbols from here on are orders."""
MARKER_RATE = 24_000
WORD_SYMBOLS = 8
"""How long a word of any other text is: 320 ms."""
STALL_UNIT_MS = 50
MAX_STALL_UNITS = 31
MAX_MARK_S = 120.0

StallStage = Literal["audio_encoder", "score_worker", "vae_decoder"]
STALL_STAGES: tuple[StallStage, ...] = get_args(StallStage)


@dataclass(frozen=True)
class Stall:
    """An order to a marker engine: stand still once, for `units` of 50 ms."""

    stage: StallStage
    units: int


def counter(start: int, num_symbols: int) -> list[int]:
    """`num_symbols` steps of the counter from `start` on."""
    return [(start + step) % COUNT for step in range(num_symbols)]


def counter_start(text: str) -> int:
    """Where the counter begins for a text that names no start: elsewhere for each text."""
    return zlib.crc32(text.encode()) % COUNT


def symbols_of(text: str) -> list[int]:
    """What the marker voice says for one sentence.

    "Mark 20." and "Mark 20 from 100.": the counter for 20 s, from 0 or from 100 on.
    "Stall 700 score_worker.": an order, two symbols; the stage then stands still for 700 ms.
    Anything else: the counter, 8 symbols for each word, from `counter_start(text)` on.

    Raises:
        InvalidInput: There is no word in it, or a number is out of range.
    """
    spoken = speakable(text)
    if not spoken:
        raise InvalidInput("there is no word to speak in this text")
    if match := _MARK.fullmatch(spoken):
        seconds, start = float(match[1]), int(match[2] or 0)
        if not (0 < seconds <= MAX_MARK_S and start < COUNT):
            raise InvalidInput(
                f"{spoken!r}: over 0 to {MAX_MARK_S:g} s expected, from 0 to {COUNT - 1}"
            )
        return counter(start, max(1, round(seconds / SYMBOL_S)))
    if match := _STALL.fullmatch(spoken):
        units = round(int(match[1]) / STALL_UNIT_MS)
        if not 0 < units <= MAX_STALL_UNITS:
            raise InvalidInput(
                f"{spoken!r}: {STALL_UNIT_MS} to {MAX_STALL_UNITS * STALL_UNIT_MS} ms expected"
            )
        return [COUNT + _STAGE_NAMES.index(match[2]), units]
    return counter(counter_start(spoken), WORD_SYMBOLS * len(text.split()))


def order_of(symbol: int, argument: int) -> Stall | None:
    """The order that two symbols in a row are, if they are one."""
    if not COUNT <= symbol < COUNT + len(STALL_STAGES):
        return None
    if not 0 < argument <= MAX_STALL_UNITS:
        return None
    return Stall(STALL_STAGES[symbol - COUNT], argument)


_STAGE_NAMES: tuple[str, ...] = STALL_STAGES
_MARK = re.compile(r"mark (\d+(?:\.\d+)?)(?: from (\d+))?[.!?]?", re.IGNORECASE)
_STALL = re.compile(rf"stall (\d+) ({'|'.join(STALL_STAGES)})[.!?]?", re.IGNORECASE)


class MarkerSynthesizer:
    """Speaks tones; needs no model. Every voice sounds alike."""

    label = "marker tones"

    def synthesize(self, text: str, voice: Voice, /) -> Speech:
        """As `symbols_of` says; all words are equally long."""
        tones = [tone(symbol, MARKER_RATE) for symbol in symbols_of(checked(text))]
        spoken = text.split()
        step_s = len(tones) * SYMBOL_S / len(spoken)
        words = tuple(Word(each, n * step_s, (n + 1) * step_s) for n, each in enumerate(spoken))
        return Speech(np.concatenate(tones), MARKER_RATE, words=words)

    def close(self) -> None:
        pass
