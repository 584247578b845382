"""When each word of a spoken sentence sounds."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import numpy as np

from avatar.media import Word
from avatar.speech.phonemes import TimedPhoneme
from avatar.speech.text import speakable
from avatar.speech.tts import Speech


def timed_words(text: str, speech: Speech) -> tuple[Word, ...]:
    """Each word of `text` with its times; the words joined by spaces are its words again.

    Exact where the voice knows when its words sound, else estimated from their letters.
    """
    spoken = text.split()
    if [word.text for word in speech.words] == spoken:
        return speech.words
    start_s, end_s = _heard_between(speech)
    # a mark that stands for a pause takes about as long as three letters
    weights = [len(word) + 3 * (word[-1] in ".,;:!?") if speakable(word) else 0 for word in spoken]
    total = sum(weights) or 1
    edges = [start_s + (end_s - start_s) * done / total for done in accumulate(weights, initial=0)]
    return tuple(Word(word, *edge) for word, edge in zip(spoken, pairwise(edges), strict=True))


def aligned_words(
    text: str, phonemes: Sequence[TimedPhoneme], num_spoken: Callable[[str], int]
) -> tuple[Word, ...]:
    """The words of `text` at the times of their sounds.

    Args:
        text: As it is shown: with numbers, marks and emoji.
        phonemes: As it was spoken; each knows whether a word begins with it.
        num_spoken: How many spoken words a shown one becomes: "1984" three, an emoji none.
    """
    shown, spans = text.split(), _spoken_spans(phonemes)
    counts = [1 if speakable(word) else 0 for word in shown]
    if sum(counts) != len(spans):
        counts = [num_spoken(speakable(word)) if speakable(word) else 0 for word in shown]
    total = sum(counts) or 1
    # where readings in the sentence differ from those of single words, they are spread evenly
    edges = [round(done * len(spans) / total) for done in accumulate(counts, initial=0)]
    words: list[Word] = []
    end_s = spans[0][0] if spans else 0.0
    for word, (first, after) in zip(shown, pairwise(edges), strict=True):
        start_s, end_s = (spans[first][0], spans[after - 1][1]) if after > first else (end_s, end_s)
        words.append(Word(word, start_s, end_s))
    return tuple(words)


def _spoken_spans(phonemes: Sequence[TimedPhoneme]) -> list[tuple[float, float]]:
    """From and until when each spoken word sounds, in seconds."""
    spans: list[tuple[float, float]] = []
    for phoneme in phonemes:
        if phoneme.begins_word or not spans:
            spans.append((phoneme.start_s, phoneme.end_s))
        else:
            spans[-1] = (spans[-1][0], phoneme.end_s)
    return spans


def _heard_between(speech: Speech) -> tuple[float, float]:
    """From and until when there is sound in it, in seconds."""
    loud = np.flatnonzero(np.abs(speech.samples) > 0.02 * np.max(np.abs(speech.samples), initial=0))
    if not len(loud):
        return 0.0, speech.seconds
    return float(loud[0]) / speech.sample_rate, float(loud[-1] + 1) / speech.sample_rate
