"""Sentences of an answer whose sound and text come apart: which sound belongs to which words."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from avatar.media import Word
from avatar.speech.spoken_words import timed_words
from avatar.speech.text import SentenceSplitter, speakable
from avatar.speech.tts import Speech
from services.audio_llm.realtime_protocol import PCM_RATE

LETTERS_PER_S: Final = 14.0
"""How fast is spoken, as long as nothing was measured; a mark counts for three letters."""
SURE_LETTERS: Final = 30.0
"""So many letters have to be measured to count as much as that guess."""
UNDECIDED_S: Final = 0.6
"""Sound that has come without a whole sentence of text: the words that are there will do."""
FIRST_S: Final = 0.2
PIECE_S: Final = 0.1
PAUSE_S: Final = 0.08
"""A shorter quiet is part of a word."""
LEAST_LEVEL: Final = 0.02
"""Sound that is nowhere louder is quiet."""
MARKS: Final = (".", "!", "?", "…", ",", ";", ":")
HOP: Final = PCM_RATE // 100


@dataclass(frozen=True)
class Sentence:
    """Words that begin to sound with the next piece of sound; times count from there."""

    text: str
    words: tuple[Word, ...]


class Sentences:
    """Lays sentences onto sound: exactly where both are known to the end, else by an estimate."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        """Told so far; seconds since the answer began to sound."""
        self.texts: list[str] = []
        self.told_s = 0.0
        self._splitter = SentenceSplitter(brisk=True)
        self._tail = ""  # of a word that may go on
        self._waiting: deque[str] = deque()
        self._num_unsplit = 0  # words that follow those
        self._pending = np.zeros(0, np.float32)
        self._is_over = False
        self._current = ""
        self._position = 0  # samples told of the current sentence
        self._letters, self._seconds = SURE_LETTERS, SURE_LETTERS / LETTERS_PER_S

    def add_text(self, text: str) -> None:
        whole, space, self._tail = (self._tail + text).rpartition(" ")
        self._num_unsplit += len(whole.split())
        self._split(self._splitter.feed(whole + space))

    def end_text(self) -> None:
        tail, self._tail = self._tail, ""
        self._num_unsplit += len(tail.split())
        self._split(self._splitter.feed(tail) + self._splitter.flush())

    def _split(self, sentences: list[str]) -> None:
        self._waiting += sentences
        self._num_unsplit -= sum(len(each.split()) for each in sentences)

    def add_sound(self, samples: NDArray[np.float32]) -> None:
        self._pending = np.concatenate([self._pending, samples])

    def finish(self) -> None:
        """Nothing more comes."""
        self.end_text()
        self._is_over = True

    def take(self, due_s: float) -> list[Sentence | NDArray[np.float32]]:
        """What is to be told now, so that `due_s` seconds of the answer are told, or all of it."""
        told: list[Sentence | NDArray[np.float32]] = []
        while True:
            if not self._current and not self._begin(due_s, told):
                return told
            num_mine = self._num_mine()
            if num_mine is not None:
                self._play(num_mine, told)
                self._end()
                continue
            due = min(self._pending.size, round((due_s - self.told_s) * PCM_RATE))
            if due < PIECE_S * PCM_RATE:
                return told
            num_mine = self._num_mine_so_far() if self._has_more else None
            if num_mine is not None:
                self._play(num_mine, told)
                self._end()
                continue
            if self._has_more:  # a quiet may turn out to be the end
                due = min(due, _last_sound(self._pending))
            if not due:
                return told
            self._play(due, told)

    @property
    def _has_more(self) -> bool:
        """Whether words are known that follow the current sentence."""
        return bool(self._waiting or self._num_unsplit > 0)

    def _begin(self, due_s: float, told: list[Sentence | NDArray[np.float32]]) -> bool:
        """Announce the next sentence, if it is time; returns whether there is one."""
        pending_s = self._pending.size / PCM_RATE
        is_due = due_s - self.told_s >= PIECE_S
        if not self._waiting and is_due and pending_s >= UNDECIDED_S:
            self._split(self._splitter.flush())
        if not self._waiting:
            if not self._is_over or not pending_s:
                return False
            self._waiting.append("")  # there is sound without words
        self._current, self._position = self._waiting.popleft(), 0
        num_mine = self._num_mine()
        if num_mine is None and (not is_due or pending_s < FIRST_S):
            self._waiting.appendleft(self._current)
            self._current = ""
            return False
        if num_mine is None:
            onset = _onset(self._pending)
            sound = np.ones(onset + round(self._expected_s(self._current) * PCM_RATE), np.float32)
            sound[:onset] = 0.0
        else:
            sound = self._pending[:num_mine]
        words = timed_words(self._current, Speech(sound, PCM_RATE))
        told.append(Sentence(self._current, words))
        self.texts.append(self._current)
        self.words += (
            Word(each.text, self.told_s + each.start_s, self.told_s + each.end_s) for each in words
        )
        if not self._current:
            self._play(self._pending.size, told)
            return False
        return True

    def _num_mine(self) -> int | None:
        """How many pending samples end the current sentence; None while that is open."""
        pending_s, position_s = self._pending.size / PCM_RATE, self._position / PCM_RATE
        if not self._waiting:
            return self._pending.size if self._is_over else None
        expected_s = self._expected_s(self._current)
        if self._is_over:  # all of the rest is known
            rest = sum(self._expected_s(text) for text in self._waiting)
            expected_s *= (position_s + pending_s) / (expected_s + rest)
        elif position_s + pending_s < 1.5 * expected_s + 0.3:
            return None
        around = expected_s - position_s
        reach = 0.5 if self._current.endswith(MARKS) else 0.1  # a part has no pause after it
        low, high = max(0.0, around - reach * expected_s), around + reach * expected_s
        return _cut(self._pending, low, min(high, pending_s), around)

    def _num_mine_so_far(self) -> int | None:
        """The same, of a sentence that has to be told while its sound still comes."""
        pending_s, expected_s = self._pending.size / PCM_RATE, self._expected_s(self._current)
        around = expected_s - self._position / PCM_RATE
        if not self._current.endswith(MARKS):
            return _cut(self._pending, around, around, around) if pending_s >= around else None
        has_pauses = any(mark in self._current[:-1] for mark in MARKS)
        low = around - (0.3 if has_pauses else 0.6) * expected_s
        high = around + 0.6 * expected_s
        for start_s, end_s in _pauses(self._pending):
            is_end = end_s < pending_s - 0.01 and end_s - start_s >= 2 * PAUSE_S
            if is_end and low <= start_s:
                return round(end_s * PCM_RATE)
        return 0 if high <= 0.0 else None

    def _expected_s(self, text: str) -> float:
        return max(0.2, _letters(text) * self._seconds / self._letters)

    def _play(self, num_samples: int, told: list[Sentence | NDArray[np.float32]]) -> None:
        if num_samples:
            told.append(self._pending[:num_samples])
        self._pending = self._pending[num_samples:]
        self._position += num_samples
        self.told_s += num_samples / PCM_RATE

    def _end(self) -> None:
        if self._current.endswith(MARKS):  # others end where they were thought to
            self._letters += _letters(self._current)
            self._seconds += self._position / PCM_RATE
        self._current = ""


def _letters(text: str) -> int:
    """As spoken_words weighs them."""
    words = [word for word in text.split() if speakable(word)]
    return sum(len(word) + 3 * (word[-1] in ".,;:!?") for word in words)


def _levels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S // HOP,) loudness of each 10 ms."""
    whole = samples[: samples.size // HOP * HOP].reshape(-1, HOP)
    return np.asarray(np.sqrt(np.mean(np.square(whole), axis=1)), np.float32)


def _onset(samples: NDArray[np.float32]) -> int:
    """Where it begins to be loud."""
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.max(np.abs(samples), initial=0.0))
    return int(loud[0]) if loud.size else 0


def _last_sound(samples: NDArray[np.float32]) -> int:
    """After which it is quiet to the end."""
    pauses = list(_pauses(samples))
    if pauses and pauses[-1][1] >= samples.size // HOP / 100:
        return round(pauses[-1][0] * PCM_RATE)
    return samples.size


def _pauses(samples: NDArray[np.float32]) -> Iterator[tuple[float, float]]:
    """From and until when it is quiet, in seconds."""
    levels = _levels(samples)
    quiet = np.flatnonzero(levels < 0.05 * np.max(levels, initial=LEAST_LEVEL))
    for run in np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1):
        if run.size * HOP >= PAUSE_S * PCM_RATE:
            yield float(run[0]) / 100, float(run[-1] + 1) / 100


def _cut(samples: NDArray[np.float32], low_s: float, high_s: float, around_s: float) -> int:
    """Where a sentence ends: at the end of a long quiet near `around_s`, else right there."""
    best, best_score = min(max(around_s, 0.0), samples.size / PCM_RATE), -np.inf
    for start_s, end_s in _pauses(samples):
        # near counts, but less than long does: commas are short
        score = end_s - start_s - 0.1 * abs(start_s - around_s)
        if low_s <= start_s <= high_s and score > best_score:
            best, best_score = end_s, score
    return min(samples.size, round(best * PCM_RATE))
