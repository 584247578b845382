"""What a caller's sounds are: a question, assent, nothing at all, or the avatar's own voice."""

import math
from collections import deque
from collections.abc import Sequence

from avatar.media import Word
from avatar.speech.end_of_turn import words
from avatar.speech.listening import (
    is_backchannel,
    is_echo,
    is_hallucination,
    is_hum,
    is_objection,
    is_stop,
)
from avatar.speech.text import speakable
from services.audio_llm.recording import Turn

WEAK_SPEECH_S, WEAK_CERTAINTY = 0.25, 0.75
LATE_ASSENT_S = 1.5
""" "Okay" so soon after a statement is a nod; later it asks for something."""
ECHO_LAG_S = 1.0
"""So late at most the avatar's voice comes back through a loudspeaker and a call."""
SOFT_DB, FAINT_DB = 6.0, 12.0
"""So much below the usual voice of the caller: perhaps another's, and certainly another's."""
ECHO_WORDS = 4
"""So many words of the avatar's in a row are an echo even where they are loud."""
KEPT_LEVELS = 3


class Judge:
    """Knows how loud this caller is, and what the avatar said last; has no clock of its own."""

    def __init__(self) -> None:
        self._levels_dbfs: deque[float] = deque(maxlen=KEPT_LEVELS)
        self._sounds_since_s = math.inf
        self._ended_s = -math.inf
        self._was_asked = False
        self._told: Sequence[Word] = ()

    def answer_sounds(self, now_s: float, told: Sequence[Word]) -> None:
        """An answer sounds from now on; `told` grows with it, its times count from now."""
        self._sounds_since_s, self._ended_s, self._told = now_s, math.inf, told

    def answer_ended(self, now_s: float, heard: str) -> None:
        """An answer is over, and so much of it was heard."""
        self._told = self._told[: len(heard.split())]
        self._ended_s = now_s
        if heard:
            self._was_asked = heard.rstrip("\"')*_ ").endswith("?")

    def learn(self, turn: Turn) -> None:
        """This was the caller, and asked for an answer."""
        if not _is_weak(turn):
            self._levels_dbfs.append(turn.level_dbfs)
        self._was_asked = False

    def asks(self, turn: Turn, now_s: float) -> bool:
        """Whether a turn wants an answer while nobody else speaks."""
        if self._is_noise(turn):
            return False
        if self._was_asked:
            return True
        began_s = now_s - turn.silence_s - turn.speech_s
        is_late = began_s - self._ended_s < LATE_ASSENT_S
        return not (is_hum(turn.text) or (is_late and is_backchannel(turn.text)))

    def is_nothing(self, turn: Turn) -> bool:
        """Whether, said into an answer, it leaves the answer to go on."""
        if self._is_noise(turn) or is_backchannel(turn.text):
            return True
        return _is_weak(turn) and not (is_stop(turn.text) or is_objection(turn.text))

    def is_echo(self, turn: Turn, now_s: float) -> bool:
        """Whether it is the avatar's own voice, out of a loudspeaker."""
        began_s = now_s - turn.silence_s - turn.speech_s
        is_near = self._sounds_since_s <= began_s <= self._ended_s + ECHO_LAG_S
        if not is_near or is_stop(turn.text):
            return False
        usual_dbfs = min(self._levels_dbfs, default=None)
        below_db = usual_dbfs - turn.level_dbfs if usual_dbfs is not None else math.nan
        if below_db > FAINT_DB:
            return True
        # after an answer its words may well be those of the caller
        is_likely = began_s <= self._ended_s and (
            usual_dbfs is None or len(words(turn.text)) >= ECHO_WORDS
        )
        return (below_db > SOFT_DB or is_likely) and is_echo(turn.text, self._said(began_s, now_s))

    def _said(self, from_s: float, to_s: float) -> list[str]:
        """What of the answer may have been heard in that time."""
        first_s = from_s - self._sounds_since_s - ECHO_LAG_S
        last_s = to_s - self._sounds_since_s
        return [w.text for w in self._told if w.start_s <= last_s and w.end_s >= first_s]

    def _is_noise(self, turn: Turn) -> bool:
        """Whether nothing was said in it."""
        if not turn.speech_s or not speakable(turn.text):
            return True
        return _is_weak(turn) and is_hallucination(turn.text)


def _is_weak(turn: Turn) -> bool:
    """Whether a recogniser's words for it are hardly to be believed."""
    return turn.speech_s < WEAK_SPEECH_S or turn.certainty < WEAK_CERTAINTY
