import pytest

from avatar.speech.end_of_turn import TextEndOfTurn, words

pytestmark = pytest.mark.unit

POLICY = TextEndOfTurn()


@pytest.mark.parametrize(
    "text",
    [
        "What is your name?",
        "Where are you from?",
        "Hello. What is your name?",
        "Tell me about the sea.",
        "Can you help me?",
        "What is it for?",
    ],
)
def test_questions_and_requests_end_soon(text: str) -> None:
    assert POLICY.patience_s(text, ()) <= 0.35


@pytest.mark.parametrize("text", ["I live in Paris.", "Yes, I do.", "Hello.", "No.", "I like it!"])
def test_statements_are_given_a_little_more(text: str) -> None:
    assert 0.45 <= POLICY.patience_s(text, ()) <= 0.65


@pytest.mark.parametrize(
    "text",
    [
        "What is your favourite season and?",
        "I would like to know, um.",
        "I was thinking that, uh...",
        "Tell me about the...",
        "I went to",
        "So",
        "Because",
        "I want to see the",
        "First of all,",
        "I would like to talk about.",
        "Okay, so?",
    ],
)
def test_what_must_go_on_is_waited_for(text: str) -> None:
    assert POLICY.patience_s(text, ()) > 1.0


def test_a_text_without_a_closing_mark_is_in_between() -> None:
    assert 0.6 <= POLICY.patience_s("we went home", ()) <= 1.0
    assert 0.6 <= POLICY.patience_s("", ()) <= 1.0


def test_a_caller_who_pauses_long_is_given_more_but_not_without_limit() -> None:
    text = "I live in Paris."
    usual = POLICY.patience_s(text, ())
    assert POLICY.patience_s(text, [0.2] * 10) == usual
    assert usual < POLICY.patience_s(text, [1.0] * 10) <= usual + 0.4
    assert POLICY.patience_s(text, [9.0] * 10) == pytest.approx(usual + 0.4)


def test_two_pauses_are_no_habit() -> None:
    text = "I live in Paris."
    assert POLICY.patience_s(text, [1.2, 1.2]) == POLICY.patience_s(text, ())


def test_words_are_without_marks_and_case() -> None:
    assert words("Mm-hmm, It's 5 o'clock!") == ["mm", "hmm", "it's", "5", "o'clock"]
