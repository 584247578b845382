import random
import time

import pytest

from avatar.errors import InvalidInput, TooLarge
from avatar.speech.text import (
    MAX_SENTENCE_CHARACTERS,
    SentenceSplitter,
    checked,
    sentences,
    speakable,
)

pytestmark = pytest.mark.unit

PROSE = (
    "Hello there! How are you today? I paid $3.50, i.e. almost nothing... Dr. Smith saw it too. "
    'She said: "Stop it." Then J. K. Rowling left the U.S. Army.\nNew line\n\n- an item\n'
    "We are here. I am I. So it goes.  The price is 3.14 or so… Right? " + "word " * 120 + "end."
)


def test_sentences_end_at_marks_and_lines() -> None:
    assert sentences("Hello there! How are you?\nFine. Good") == [
        "Hello there!",
        "How are you?",
        "Fine.",
        "Good",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "It costs 3.14 dollars.",
        "Dr. Smith and Mrs. Jones met at St. Pancras.",
        "J. K. Rowling wrote it.",
        "Use a tool, e.g. A hammer.",
        "Wait... what is that?",
        "He asked why? and left.",
    ],
)
def test_a_mark_inside_a_sentence_does_not_end_it(text: str) -> None:
    assert sentences(text) == [text]


def test_a_closing_quote_stays_with_its_sentence() -> None:
    assert sentences('He said "Stop." Then he left.') == ['He said "Stop."', "Then he left."]


@pytest.mark.parametrize("seed", range(50))
def test_pieces_give_the_same_sentences_as_the_whole(seed: int) -> None:
    chance = random.Random(seed)
    splitter, got, rest = SentenceSplitter(), [], PROSE
    while rest:
        size = chance.choice([1, 2, 3, 5, 50])
        got += splitter.feed(rest[:size])
        rest = rest[size:]
    assert [*got, *splitter.flush()] == sentences(PROSE)


def test_a_sentence_is_given_before_the_next_one_is_complete() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Yes, I can.") == []
    assert splitter.feed(" T") == ["Yes, I can."]
    assert splitter.feed("his is") == []
    assert splitter.flush() == ["This is"]
    assert splitter.flush() == []


@pytest.mark.parametrize("text", ["word " * 400, "x" * 2000, "so, " * 500, "a" * 300 + ". B"])
def test_endless_sentences_are_cut_and_nothing_is_lost(text: str) -> None:
    parts = sentences(text)
    assert all(0 < len(part) <= MAX_SENTENCE_CHARACTERS for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


def test_control_characters_are_taken_out() -> None:
    assert checked("\x00Hi\x1b[2J \u202ethere\x07\u200b ") == "Hi [2J there"


@pytest.mark.parametrize("text", ["", "  \n\t ", "\x00\x01", "\u200b\u202e"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        checked(text)


def test_a_huge_text_is_refused_with_both_numbers() -> None:
    assert checked("a" * 2000) == "a" * 2000
    with pytest.raises(TooLarge, match="2001 characters, at most 2000"):
        checked("a" * 2001)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("**Bold** and *slanted* and `code`.", "Bold and slanted and code."),
        ("# Title\n- one\n- two", "Title one two"),
        ("See [the page](https://example.org/a_b).", "See the page."),
        ("Look at https://example.org/x?y=1 now", "Look at link now"),
        ("Great 😀👍🏽 work ❤️!", "Great work !"),
        ("| a | b |\n|---|---|\n| c | d |", ", a, b, , c, d,"),
        ("2 * 3 = 6 and snake_case", "2 * 3 = 6 and snake_case"),
        ("I <b>mean</b> it", "I mean it"),
        ("Café naïve", "Café naïve"),
    ],
)
def test_markdown_and_emoji_are_not_spoken(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


@pytest.mark.parametrize("text", ["😀", "***", "— … !", "👩‍👩‍👧", "```\n```"])
def test_nothing_to_speak_leaves_nothing(text: str) -> None:
    assert speakable(text) == ""


@pytest.mark.parametrize("unit", ["|", "|\n", "- ", "[", "](", "* \n", "_", "<a", "`", "\n ", "#"])
def test_hostile_markdown_costs_little(unit: str) -> None:
    text = unit * (2000 // len(unit)) + "x"
    before = time.process_time()
    assert len(speakable(text[-2000:])) <= 2 * 2000
    assert sum(map(len, sentences(text))) <= len(text)
    assert time.process_time() - before < 1.0


LONG_FIRST = "The sea is a big place, full of fish and other things. It is deep, too."


def brisk_sentences(pieces: list[str]) -> list[str]:
    splitter = SentenceSplitter(brisk=True)
    return [*(s for piece in pieces for s in splitter.feed(piece)), *splitter.flush()]


def test_the_first_clause_of_a_long_first_sentence_comes_by_itself() -> None:
    first, second, third = brisk_sentences([LONG_FIRST])
    assert first == "The sea is a big place,"
    assert second == "full of fish and other things."
    assert third == "It is deep, too."


@pytest.mark.parametrize(
    "text",
    [
        "I like it very much, too.",
        "Well, my name is Mira.",
        "It costs 1,250 dollars or so a year.",
        "I would call that one, two, three. Yes.",
        "No comma is in this sentence that goes on and on and on.",
    ],
)
def test_a_sentence_that_would_be_cut_in_an_odd_place_stays_whole(text: str) -> None:
    assert brisk_sentences([text])[0] == sentences(text)[0]


@pytest.mark.parametrize("seed", range(30))
def test_pieces_are_cut_at_the_same_clause_as_the_whole(seed: int) -> None:
    chance = random.Random(seed)
    text = LONG_FIRST if seed % 2 else PROSE
    pieces, rest = [], text
    while rest:
        size = chance.choice([1, 2, 3, 5, 50])
        pieces.append(rest[:size])
        rest = rest[size:]
    assert brisk_sentences(pieces) == brisk_sentences([text])
