"""When each speech sound of an utterance is spoken."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TimedPhoneme:
    """One sound: an IPA symbol or an espeak-ng mnemonic, from `start_s` to `end_s`."""

    symbol: str
    start_s: float
    end_s: float
    begins_word: bool = False
