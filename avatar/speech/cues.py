"""Cues in what is said: `[smile] Good morning` is a smile and two words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from avatar.media import CUES, CueName, TimedCue, Word

INSTRUCTION = (
    "You have a face. Where it fits, and seldom, write one of "
    + ", ".join(f"[{name}]" for name in CUES)
    + " before the words that it goes with; it is shown, not spoken."
)
"""What tells a chat model that it may do so."""


@dataclass(frozen=True)
class PlacedCue:
    """A cue, and how many words of the text stand before it."""

    name: CueName
    num_words: int


def take_cues(text: str) -> tuple[str, tuple[PlacedCue, ...]]:
    """`text` without its cues, and these; brackets with anything else in them stay."""
    plain, placed, end = "", [], 0
    for match in _CUE.finditer(text):
        plain = _joined(plain, text[end : match.start()])
        placed.append(PlacedCue(_NAMES[_plain_name(match[1])], len(plain.split())))
        end = match.end()
    return _joined(plain, text[end:]).strip() if placed else text, tuple(placed)


def written(cues: Sequence[PlacedCue], text: str) -> str:
    """The cues, wherever they stood, before the text."""
    return "".join(f"[{cue.name}] " for cue in cues) + text


def timed_cues(placed: Sequence[PlacedCue], words: Sequence[Word]) -> tuple[TimedCue, ...]:
    """When each is due: as the word after it begins, or, after the last one, as that ends."""
    edges = [*(word.start_s for word in words), words[-1].end_s if words else 0.0]
    return tuple(TimedCue(cue.name, edges[min(cue.num_words, len(words))]) for cue in placed)


def natural_cues(text: str) -> tuple[PlacedCue, ...]:
    """What a friendly face does by itself: who greets smiles."""
    return (PlacedCue("smile", 0),) if _GREETING.match(text) else ()


def _joined(before: str, after: str) -> str:
    """Both, where a cue stood between them."""
    before, stripped = before.rstrip(), after.lstrip()
    if not before or not stripped or stripped[0] in ".,;:!?…)\"'”’":  # noqa: RUF001  as written
        return before + stripped
    return f"{before} {stripped}"


def _plain_name(name: str) -> str:
    return re.sub(r"[ _-]", "", name.lower())


_NAMES: dict[str, CueName] = {_plain_name(name): name for name in CUES}
_CUE = re.compile(
    r"\[ ?(" + "|".join(name.replace("_", "[ _-]?") for name in CUES) + r") ?\](?!\()",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"\W*(hello|hi|hey|welcome|greetings|good (morning|afternoon|evening)"
    r"|(nice|pleased|glad) to (meet|see) you)\b",
    re.IGNORECASE,
)
