"""Text on its way to the voice: limits, what can be spoken of it, sentences."""

import re
import unicodedata

from avatar.errors import InvalidInput, TooLarge

MAX_TEXT_CHARACTERS = 2000
MAX_SENTENCE_CHARACTERS = 240
"""A longer sentence is cut at a clause or a space: speech starts soon and memory is bounded."""


def checked(text: str, max_characters: int = MAX_TEXT_CHARACTERS) -> str:
    """The text without control characters and outer space.

    Raises:
        TooLarge: More than `max_characters`.
        InvalidInput: Nothing but space.
    """
    if len(text) > max_characters:
        raise TooLarge(f"the text has {len(text)} characters, at most {max_characters} are spoken")
    printable = "".join(
        char if char == "\n" or unicodedata.category(char) not in _UNPRINTABLE else " "
        for char in text
        if unicodedata.category(char) not in _INVISIBLE
    ).strip()
    if not printable:
        raise InvalidInput("the text is empty; give at least one word")
    return printable


_UNPRINTABLE = {"Cc", "Zl", "Zp"}
_INVISIBLE = {"Cf", "Cs", "Co", "Cn"}


def speakable(text: str) -> str:
    """What a voice can say of `text`: no markdown, emoji or addresses; empty if nothing is left."""
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    text = "".join(
        " " if unicodedata.category(char) in ("So", "Sk", "Mn", "Me") else char
        for char in unicodedata.normalize("NFC", text)
    )
    text = re.sub(r"\s+", " ", text).strip()
    return text if any(char.isalnum() for char in text) else ""


_MARKDOWN = [
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in [
        (r"^[ \t]*(```|~~~).*$", " "),  # fences; the code between them is spoken
        (r"^[ \t]*([-*_][ \t]*){3,}$", " "),  # rules
        (r"^[-:| \t]*\|[-:| \t]*$", " "),  # the line under a table's head
        (r"!?\[([^\]]*)\]\([^)]*\)", r"\1"),  # links and images: their text
        (r"<?https?://[^\s>]+>?", " link "),
        (r"^[ \t]*(#{1,6}|>+|[-*+•]|\d{1,2}[.)])[ \t]+", ""),  # headings, quotes, items
        (r"(\*\*|__|~~|`+)", ""),
        (r"(?<!\w)[*_]+(?=\w)|(?<=[\w.,!?])[*_]+(?!\w)", ""),  # *emphasis*
        (r"\s*\|\s*", ", "),  # table cells
        (r"</?[a-zA-Z][^>]{0,80}>", " "),  # tags
    ]
]


def sentences(text: str) -> list[str]:
    """The sentences of `text`, none longer than MAX_SENTENCE_CHARACTERS."""
    splitter = SentenceSplitter()
    return [*splitter.feed(text), *splitter.flush()]


class SentenceSplitter:
    """Sentences of a text that arrives in pieces, each as soon as its end is certain.

    However the text is cut into pieces, the sentences are the same.
    """

    def __init__(self, brisk: bool = False) -> None:
        """`brisk`: a long first sentence is cut after its first clause, to be spoken sooner."""
        self._pending = ""
        self._brisk = brisk

    def feed(self, piece: str) -> list[str]:
        """Sentences completed by `piece`."""
        self._pending = _collapse_space(self._pending + piece)
        done = []
        while (end := self._end()) is not None:
            done.append(self._pending[:end].strip())
            self._pending = self._pending[end:].lstrip()
            self._brisk = False
        return [sentence for sentence in done if sentence]

    def flush(self) -> list[str]:
        """The rest, at the end of the text; the splitter is empty afterwards."""
        done = []
        while len(self._pending) > MAX_SENTENCE_CHARACTERS:
            end = _cut(self._pending[:MAX_SENTENCE_CHARACTERS])
            done.append(self._pending[:end].strip())
            self._pending = self._pending[end:].lstrip()
            done += self.feed("")
        rest, self._pending = self._pending.strip(), ""
        return [sentence for sentence in (*done, rest) if sentence]

    def _end(self) -> int | None:
        clause = _first_clause(self._pending) if self._brisk else None
        sentence = _certain_end(self._pending)
        if clause is None or (sentence is not None and sentence <= clause):
            return sentence
        return clause


def _collapse_space(text: str) -> str:
    text = re.sub(r"[^\S\n]+", " ", text)
    return re.sub(r" ?\n[ \n]*", "\n", text)


def _certain_end(text: str) -> int | None:
    """Where the first sentence of `text` ends, if no further text can change it."""
    for match in _END.finditer(text):
        if match.end() > MAX_SENTENCE_CHARACTERS:
            break
        if match.group() == "\n" or _is_end(text, match):
            return match.end()
    # so many characters more than the limit decide every end within it
    if len(text) > MAX_SENTENCE_CHARACTERS + _DECIDING_CHARACTERS:
        return _cut(text[:MAX_SENTENCE_CHARACTERS])
    return None


def _first_clause(text: str) -> int | None:
    """Where its first long clause ends, if more words of the same sentence follow."""
    for match in _CLAUSE_END.finditer(text):
        if len(text[: match.end()].split()) >= _CLAUSE_WORDS:
            return match.end() if _REST.match(text, match.end()) else None
    return None


CLAUSE_MARKS = (",", ";", ":", "—", "\u2013")
_CLAUSE_END = re.compile(r"(?<=\w)[,;:—\u2013] (?=\S)")
_CLAUSE_WORDS = 5
_REST = re.compile(r"([^\s.!?…]+ ){3}\S")  # the last word may still grow, hence one more


# Cues such as [smile] belong to the words after them, and to those before only at the text's end.
_MAYBE_CUE = r"\[[\w -]{0,16}"
_END = re.compile(
    r"\n|(?P<mark>[.!?…]+)[\"'”\u2019)\]*_]* "
    rf"(?=(?:{_MAYBE_CUE}\]\s?){{0,2}}(?:[^\s\[]|\[(?!{_MAYBE_CUE[2:]}(?:\]|\Z))))"
)
_DECIDING_CHARACTERS = 64


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Not after "Dr." or an initial, and not before a lower-case word."""
    if text[match.end()].islower():
        return False
    if match.group("mark") != ".":
        return True
    word = text[: match.start()].rpartition(" ")[2].rpartition("\n")[2].lstrip("\"'“\u2018([*_")
    return not (
        word.lower() in _ABBREVIATIONS
        or "." in word.strip(".")  # U.S., e.g.
        or (len(word) == 1 and word.isupper() and word != "I")
    )


_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr vs fig vol gen col capt lt sgt rev hon approx dept est".split()
)


def _cut(text: str) -> int:
    """Where to cut a text without sentence end: after a clause, else a space, else anywhere."""
    for pattern in (r"[,;:—\u2013] ", r" "):
        ends = [match.end() for match in re.finditer(pattern, text)]
        if ends and ends[-1] > len(text) // 3:
            return ends[-1]
    return len(text)
