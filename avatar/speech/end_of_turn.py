"""How long a silence must be to end a turn: from what was said, and from how this caller pauses."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class EndOfTurn(Protocol):
    """Pluggable: a model may take the place of the rules."""

    def patience_s(self, text: str, pauses_s: Sequence[float], /) -> float:
        """Seconds of silence after which the turn is over.

        Args:
            text: What was understood of the turn so far.
            pauses_s: The latest pauses of this caller after which the same turn went on.
        """
        ...


@dataclass(frozen=True)
class TextEndOfTurn:
    """Short after a question, longer after a statement, long where more must follow."""

    question_s: float = 0.32
    statement_s: float = 0.55
    unfinished_s: float = 0.8
    """No closing mark: the recogniser itself was not sure."""
    open_s: float = 1.4
    """A conjunction, a filler, an article: nobody ends like this."""
    most_added_s: float = 0.4
    """For a caller who pauses long."""

    def patience_s(self, text: str, pauses_s: Sequence[float], /) -> float:
        kind_s = self._by_text(text)
        usual_s = _quantile(pauses_s, 0.8) if len(pauses_s) >= _ENOUGH_PAUSES else 0.0
        # half way: one who waits for the avatar should not wait for the longest pause
        return kind_s + min(self.most_added_s, max(0.0, (usual_s - kind_s) / 2))

    def _by_text(self, text: str) -> float:
        spoken = words(text)
        if not spoken:
            return self.unfinished_s
        asks = text.endswith("?")
        if text.endswith(_GOES_ON):
            return self.open_s
        if spoken[-1] in _NEVER_LAST:
            return self.open_s
        is_answer = len(spoken) > 1 and spoken[-2] in _PRONOUNS
        if spoken[-1] in _LAST_IN_QUESTIONS and not (asks or is_answer):
            return self.open_s
        if len(spoken) <= 2 and spoken[-1] in _BEGINNINGS:
            return self.open_s
        if asks or spoken[0] in _REQUESTS:
            return self.question_s if text.endswith((".", "?", "!")) else self.statement_s
        return self.statement_s if text.endswith((".", "!")) else self.unfinished_s


def words(text: str) -> list[str]:
    """Its words in lower case, without marks; "mm-hm" is two."""
    return re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", text.lower())


_ENOUGH_PAUSES = 3
_GOES_ON = (",", "-", "\u2013", "—", "...", "…", ":", ";")
_NEVER_LAST = frozenset(
    "and or but because if uh um er erm hmm the a an my your his our their very quite "
    "i'm i'd i'll i've we're they're you're it's that's there's".split()
)
_LAST_IN_QUESTIONS = frozenset(
    "of to in on at for from with about into by as than which whose while whether "
    "is are was were be been am do does did have has had can could would should will might must "
    "not i we they also maybe like".split()
)
"""They end questions ("What is it for?") and answers ("Yes, I do."), but no other statement."""
_PRONOUNS = frozenset("i you he she it we they that this there".split())
_BEGINNINGS = frozenset("so well now then actually anyway also basically listen".split())
_REQUESTS = frozenset(
    "what who where when why how which whose is are was were do does did can could would should "
    "will tell explain describe give show please".split()
)


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]
