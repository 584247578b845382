import numpy as np
import pytest

from avatar.media import Word
from avatar.speech.phonemes import TimedPhoneme
from avatar.speech.spoken_words import aligned_words, timed_words
from avatar.speech.tts import Speech

pytestmark = pytest.mark.unit

RATE = 24_000


def phonemes(*words: int) -> list[TimedPhoneme]:
    """Words of so many sounds, each 0.1 s, with 0.1 s between the words."""
    sounds, at = [], 0.1
    for num_sounds in words:
        for index in range(num_sounds):
            sounds.append(TimedPhoneme("a", at, at + 0.1, begins_word=index == 0))
            at += 0.1
        at += 0.1
    return sounds


def times(words: tuple[Word, ...]) -> list[tuple[str, float, float]]:
    return [(w.text, round(w.start_s, 3), round(w.end_s, 3)) for w in words]


def test_each_word_sounds_from_its_first_to_its_last_phoneme() -> None:
    assert times(aligned_words("Hello my friend.", phonemes(4, 2, 5), lambda _: 1)) == [
        ("Hello", 0.1, 0.5),
        ("my", 0.6, 0.8),
        ("friend.", 0.9, 1.4),
    ]


def test_a_number_spans_all_words_that_it_is_read_as() -> None:
    counts = {"In": 1, "1984,": 3, "yes": 1}
    assert times(aligned_words("In 1984, yes", phonemes(2, 2, 2, 2, 2), counts.__getitem__)) == [
        ("In", 0.1, 0.3),
        ("1984,", 0.4, 1.2),
        ("yes", 1.3, 1.5),
    ]


def test_what_is_not_spoken_takes_no_time() -> None:
    words = aligned_words("so 😀 - good", phonemes(2, 2), lambda _: 1)
    assert times(words) == [("so", 0.1, 0.3), ("😀", 0.3, 0.3), ("-", 0.3, 0.3), ("good", 0.4, 0.6)]


def test_where_readings_differ_all_words_still_have_rising_times() -> None:
    words = aligned_words("one two three", phonemes(1, 1, 1, 1, 1), lambda _: 1)
    assert " ".join(word.text for word in words) == "one two three"
    edges = [t for word in words for t in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert edges[-1] == pytest.approx(phonemes(1, 1, 1, 1, 1)[-1].end_s)


def speech(words: tuple[Word, ...] = ()) -> Speech:
    samples = np.zeros(2 * RATE, np.float32)
    samples[RATE // 2 : 3 * RATE // 2] = 0.5
    return Speech(samples, RATE, words=words)


def test_times_that_the_voice_knows_are_kept() -> None:
    known = (Word("Good", 0.5, 0.9), Word("day.", 0.9, 1.5))
    assert timed_words("Good day.", speech(known)) == known


def test_unknown_times_are_estimated_within_what_sounds() -> None:
    words = timed_words("Good, incomprehensible day.", speech((Word("Other", 0.0, 1.0),)))
    assert [word.text for word in words] == ["Good,", "incomprehensible", "day."]
    assert words[0].start_s == pytest.approx(0.5)
    assert words[-1].end_s == pytest.approx(1.5, abs=0.001)
    lengths = [word.end_s - word.start_s for word in words]
    assert max(lengths) == lengths[1]


def test_a_text_without_words_has_none() -> None:
    assert timed_words("", speech()) == ()
    assert times(timed_words("...", speech())) == [("...", 0.5, 0.5)]
