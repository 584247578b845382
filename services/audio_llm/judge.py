"""What a caller's sounds are: a question, assent, nothing at all, or the avatar's own voice."""

import math
from collections import deque
from collections.abc import Sequence

from avatar.media import Word
from avatar.speech.end_of_turn import words
from avatar.speech.listening import is_backchannel, is_echo, is_hallucination, is_hum
from avatar.speech.text import speakable
from services.audio_llm.recording import Turn

WEAK_SPEECH_S, WEAK_CERTAINTY = 0.25, 0.75
"""Below either, a recogniser's usual inventions are not believed."""
LATE_ASSENT_S = 1.5
""" "Okay" so soon after a statement is a nod; later it asks for something."""
ECHO_LAG_S = 2.5
"""How long after its time the avatar's voice may come back through a loudspeaker and a call."""
ECHO_BELOW_DB = 8.0
"""An echo is at least this much softer than the caller."""
ECHO_WORDS = 4
"""So many words of the avatar's in a row are an echo even where they are as loud."""
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
        self._sounds_since_s, self._told = now_s, told

    def answer_ended(self, now_s: float, heard: str) -> None:
        """An answer is over, and so much of it was heard."""
        self._told = self._told[: len(heard.split())]
        if heard:
            self._ended_s = now_s
            self._was_asked = heard.rstrip("\"')*_ ").endswith("?")

    def learn(self, turn: Turn) -> None:
        """This was the caller, and asked for an answer."""
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
        return self._is_noise(turn) or is_backchannel(turn.text)

    def is_echo(self, turn: Turn, now_s: float, *, is_contested: bool) -> bool:
        """Whether it is the avatar's own voice, out of a loudspeaker.

        While the avatar speaks, four of its words are enough. Afterwards they may well be an
        answer to it; an echo is softer than that.
        """
        position_s = now_s - self._sounds_since_s
        from_s = position_s - turn.silence_s - turn.speech_s - ECHO_LAG_S
        said = [w.text for w in self._told if w.start_s <= position_s and w.end_s >= from_s]
        if not said:
            return False
        usual_dbfs = min(self._levels_dbfs, default=None)
        is_soft = usual_dbfs is not None and turn.level_dbfs < usual_dbfs - ECHO_BELOW_DB
        is_long = usual_dbfs is None or len(words(turn.text)) >= ECHO_WORDS
        return (is_soft or (is_contested and is_long)) and is_echo(turn.text, said)

    def _is_noise(self, turn: Turn) -> bool:
        is_weak = turn.speech_s < WEAK_SPEECH_S or turn.certainty < WEAK_CERTAINTY
        return not speakable(turn.text) or (is_weak and is_hallucination(turn.text))
