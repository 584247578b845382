import pytest

from avatar.speech.listening import (
    is_backchannel,
    is_echo,
    is_hallucination,
    is_hum,
    is_objection,
    is_stop,
)

pytestmark = pytest.mark.unit

SAID = "The moon goes around the earth in about four weeks, and it is far away.".split()


@pytest.mark.parametrize(
    "text", ["Mm-hmm.", "mm hm", "Uh-huh.", "Hmm...", "Um, uh", "Mmm.", "Ah.", "Oh!", "Mama?"]
)
def test_hums_are_sounds_without_a_word(text: str) -> None:
    assert is_hum(text)
    assert is_backchannel(text)


@pytest.mark.parametrize(
    "text",
    [
        "Yeah.",
        "Okay, okay.",
        "Right.",
        "I see.",
        "Oh, I see!",
        "Got it",
        "Yes, of course.",
        "Sure.",
    ],
)
def test_assent_says_that_somebody_listens(text: str) -> None:
    assert is_backchannel(text)
    assert not is_hum(text)
    assert not is_stop(text)


@pytest.mark.parametrize(
    "text",
    ["Yes, but why?", "No.", "Stop.", "Okay, stop.", "Right there", "What?", "", "I see it."],
)
def test_words_that_want_something_are_no_assent(text: str) -> None:
    assert not is_backchannel(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Stop.", "stop, stop!", "Wait.", "No, wait.", "Hold on.", "Hang on a second."),
        *("Please stop.", "Okay, stop it.", "Just a moment, please.", "That's enough.", "Shh."),
    ],
)
def test_a_wish_for_silence_is_understood(text: str) -> None:
    assert is_stop(text)


@pytest.mark.parametrize(
    "text",
    ["No.", "Please.", "Stop the car.", "Wait, what is that?", "Okay.", "", "Where to stop?"],
)
def test_what_wants_an_answer_is_no_wish_for_silence(text: str) -> None:
    assert not is_stop(text)


def test_short_objections_are_known() -> None:
    assert is_objection("No, no!")
    assert is_objection("What?")
    assert not is_objection("Nani.")
    assert not is_objection("")


def test_a_recognisers_inventions_are_known() -> None:
    assert is_hallucination("Thank you.")
    assert is_hallucination("you")
    assert not is_hallucination("Thank you, and who are you?")


@pytest.mark.parametrize(
    "text",
    [
        "the moon goes around the earth",
        "The moon goes round the earth.",
        "in about four weeks and it is",
        "it's far away",
        "Earth in a bout four weeks.",
    ],
)
def test_the_avatars_own_words_are_known_as_an_echo(text: str) -> None:
    assert is_echo(text, SAID)


@pytest.mark.parametrize(
    "text",
    [
        "no please tell me about the sun",
        "the moon goes around the earth no I want to hear of the sun please now",
        "what is that",
        "stop",
        "",
    ],
)
def test_other_words_are_no_echo(text: str) -> None:
    assert not is_echo(text, SAID)


def test_stop_is_never_an_echo() -> None:
    assert not is_echo("stop", ["Then", "they", "stop", "there."])
