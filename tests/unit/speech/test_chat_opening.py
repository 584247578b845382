import pytest

from avatar.speech.chat import opening_for

pytestmark = pytest.mark.unit

PERSONA = "You are Ada, a friendly engineer."


@pytest.mark.parametrize(
    "question",
    [
        "Hello, what is your name?",
        "Who are you?",
        "And what should I call you?",
        "YOUR NAME, please",
    ],
)
def test_who_is_asked_for_its_name_begins_with_it(question: str) -> None:
    assert opening_for(question, PERSONA) == "I'm Ada"


@pytest.mark.parametrize(
    "question", ["What is a volcano?", "Who are they?", "What is the sea called?", ""]
)
def test_other_questions_are_answered_freely(question: str) -> None:
    assert opening_for(question, PERSONA) == ""


def test_a_persona_without_a_name_begins_freely() -> None:
    assert opening_for("What is your name?", "Answer in one sentence.") == ""
