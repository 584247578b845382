"""What short sounds mean while somebody else talks: assent, a hum, a wish for silence, an echo."""

import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from avatar.speech.end_of_turn import words

FILLER_PROMPT = "Mm-hmm. Uh-huh. Hmm. Um, yeah, okay."
"""Makes Whisper write hums and fillers down, which it leaves out otherwise, or takes for words."""


def is_hum(text: str) -> bool:
    """Nothing but sounds: "mm-hm", "um", "uh-huh"."""
    return _is_only(text, _is_humming)


def is_backchannel(text: str) -> bool:
    """Only says that somebody listens: hums, "yeah", "okay", "I see"."""
    return _is_only(_ASSENTING_PHRASES.sub(" yes ", _plain(text)), _is_assent)


def is_stop(text: str) -> bool:
    """Asks for silence and nothing else: "stop", "wait a moment", "no, hold on"."""
    plain = _STOPPING_PHRASES.sub(" stop ", _plain(text))
    is_polite = _is_only(plain, lambda word: word in _POLITE)
    return not is_polite and _is_only(plain, lambda word: word in _STOPS | _POLITE)


def is_objection(text: str) -> bool:
    """One short word that means to interrupt: "no", "what", "but"."""
    return _is_only(text, lambda word: word in _OBJECTIONS)


def is_hallucination(text: str) -> bool:
    """What Whisper hears in a breath or a knock; people say these, too."""
    return _plain(text) in _HALLUCINATIONS


def is_echo(text: str, said: Sequence[str]) -> bool:
    """Whether what was heard are words that the avatar has just said.

    Args:
        text: What was heard, with a recogniser's mistakes.
        said: The words that may have sounded in the meantime, in order.
    """
    heard, spoken = "".join(words(text)), "".join(words(" ".join(said)))
    if not heard or is_stop(text):
        return False
    blocks = SequenceMatcher(None, heard, spoken, autojunk=False).get_matching_blocks()
    same = sum(block.size for block in blocks if block.size >= _SOME_LETTERS)
    return same >= _MOST * len(heard)


_SOME_LETTERS = 3  # in a row; fewer match by chance
_MOST = 0.7

_HUM = re.compile(
    r"m+|h+m+|m+h+m*|h+u+m+|u+m+|u+h+|h+u+h+|u+hu+h+|e+r+m?|a+h+|e+h+|o+h+|a+ha+|"
    r"hama|mama|eheh|eha"  # what Whisper tiny takes mm-hm and uh-huh for in synthetic voices
)
_ASSENT = frozenset(
    "yeah yea yep yup yes okay ok right sure alright true exactly absolutely indeed "
    "good great nice cool fine wow really interesting".split()
)
_ASSENTING_PHRASES = re.compile(r"\b(i see|got it|of course|all right|makes sense|thank you)\b")
_STOPS = frozenset("stop wait enough quiet silence shush sh shh pause halt".split())
_POLITE = frozenset("please no hey okay ok oh sorry just now".split())
_OBJECTIONS = frozenset("no nope what why but hey excuse sorry hello help".split())
_STOPPING_PHRASES = re.compile(
    r"\b(hold on|hang on|be quiet|shut up|stop it|stop talking|that's enough|"
    r"(just )?(a|one) (moment|minute|second|sec))\b"
)
_HALLUCINATIONS = frozenset(
    [
        *("you", "i", "i'm", "the", "so", "bye", "thank you", "thank you very much"),
        *("thanks for watching", "thank you for watching"),
    ]
)


def _plain(text: str) -> str:
    return " ".join(words(text))


def _is_only(text: str, belongs: Callable[[str], bool]) -> bool:
    found = words(text)
    return bool(found) and all(map(belongs, found))


def _is_humming(word: str) -> bool:
    return _HUM.fullmatch(word) is not None


def _is_assent(word: str) -> bool:
    return word in _ASSENT or _is_humming(word)
