"""Prompts to the numbers that UMT5 reads, by the `tokenizer.json` of its checkpoint."""

import html
import re
from pathlib import Path

from tokenizers import Tokenizer

from avatar.errors import CorruptFile, InvalidInput, NotFound
from avatar.models.weights import sha256_of

FILE = "tokenizer.json"
END = "</s>"
MAX_CHARACTERS = 4000


class PromptTokenizer:
    """Reads `tokenizer.json`, in `google/umt5-xxl/` of Wan's folders or `tokenizer/` of diffusers'.

    That file holds all of the tokenizer. The SentencePiece file beside it, `spiece.model`, holds
    its words alone and is not read: that would take the sentencepiece library for nothing new.
    """

    def __init__(self, folder: Path, max_tokens: int) -> None:
        """Raises NotFound or CorruptFile."""
        path = folder / FILE
        if not path.is_file():
            alone = " (spiece.model alone is not enough)" * (folder / "spiece.model").is_file()
            raise NotFound(
                f"{path} is missing{alone}: copy it there from the folder google/umt5-xxl of a "
                "Wan checkpoint, or from tokenizer/ of its diffusers version"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise CorruptFile(f"{path} is no tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._end = self._tokenizer.token_to_id(END)
        if self._end is None:
            raise CorruptFile(f"{path} has no {END}: it is not UMT5's tokenizer")
        self.sha256 = sha256_of(path)

    def ids(self, prompt: str) -> list[int]:
        """Numbers of its words, cut to `max_tokens`; the last is the end's.

        Raises:
            InvalidInput: The prompt is longer than `MAX_CHARACTERS`.
        """
        if len(prompt) > MAX_CHARACTERS:
            raise InvalidInput(
                f"the prompt has {len(prompt)} characters, {MAX_CHARACTERS} at most allowed"
            )
        ids: list[int] = self._tokenizer.encode(cleaned(prompt)).ids
        if not ids or ids[-1] != self._end:
            raise CorruptFile(f"{FILE} puts no {END} after a prompt: it is not UMT5's tokenizer")
        return ids


def cleaned(prompt: str) -> str:
    """White space as single spaces, HTML's entities as what they stand for, as upstream.

    Upstream also lets the package ftfy mend wrongly decoded characters and straighten quotation
    marks: write prompts with straight ones.
    """
    return re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()
