"""Cues in what is said."""

import pytest

from avatar.media import CUES, TimedCue, Word
from avatar.speech.cues import INSTRUCTION, PlacedCue, natural_cues, take_cues, timed_cues, written
from avatar.speech.text import SentenceSplitter, sentences

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", CUES)
def test_every_cue_can_be_written(name: str) -> None:
    for spelling in (name, name.replace("_", " "), name.upper(), name.replace("_", "-")):
        text, (cue,) = take_cues(f"Well, [{spelling}] good morning.")
        assert text == "Well, good morning."
        assert (cue.name, cue.num_words) == (name, 1)
    assert f"[{name}]" in INSTRUCTION


@pytest.mark.parametrize(
    ("written_text", "text", "num_words"),
    [
        ("[smile] Hello there", "Hello there", [0]),
        ("Hello [smile]there", "Hello there", [1]),
        ("Hello there [smile].", "Hello there.", [2]),
        ("Hello there! [smile]", "Hello there!", [2]),
        ("Hello [smile], [nod] you", "Hello, you", [1, 1]),
        ("[smile][nod]", "", [0, 0]),
    ],
)
def test_a_cue_stands_before_a_word(written_text: str, text: str, num_words: list[int]) -> None:
    found, cues = take_cues(written_text)
    assert found == text
    assert [cue.num_words for cue in cues] == num_words


@pytest.mark.parametrize(
    "text", ["As in [1], so it is.", "[laughs] Ha.", "[smile](http://a.b) is a link", "a [ b ] c"]
)
def test_other_brackets_stay(text: str) -> None:
    assert take_cues(text) == (text, ())


def test_cues_are_due_when_their_words_begin() -> None:
    words = (Word("One", 0.1, 0.4), Word("two.", 0.5, 0.9))
    placed = [PlacedCue("smile", 0), PlacedCue("nod", 1), PlacedCue("bow", 2)]
    due = (TimedCue("smile", 0.1), TimedCue("nod", 0.5), TimedCue("bow", 0.9))
    assert timed_cues(placed, words) == due
    assert timed_cues(placed[:1], ()) == (TimedCue("smile", 0.0),)


def test_cues_can_be_put_before_another_text() -> None:
    _, placed = take_cues("[look left] [nod]")
    assert take_cues(written(placed, "Yes.")) == ("Yes.", placed)


@pytest.mark.parametrize("text", ["Hello!", "hi, I'm Ada", "Good evening.", '"Welcome," she said'])
def test_who_greets_smiles(text: str) -> None:
    assert natural_cues(text) == (PlacedCue("smile", 0),)


@pytest.mark.parametrize("text", ["History.", "It says hello.", "Good grief.", ""])
def test_who_does_not_greet_does_as_the_behaviour_has_it(text: str) -> None:
    assert natural_cues(text) == ()


CUED = "I see! [smile] How are you? Well [nod], yes. See [1] there. I am glad! [smile]"


def test_a_cue_goes_with_the_sentence_after_it_and_at_the_end_with_the_one_before() -> None:
    assert sentences(CUED) == [
        "I see!",
        "[smile] How are you?",
        "Well [nod], yes.",
        "See [1] there.",
        "I am glad! [smile]",
    ]


@pytest.mark.parametrize("size", range(1, 12))
def test_sentences_with_cues_are_the_same_however_they_come(size: int) -> None:
    splitter, found = SentenceSplitter(), []
    for start in range(0, len(CUED), size):
        found += splitter.feed(CUED[start : start + size])
    assert [*found, *splitter.flush()] == sentences(CUED)


def test_a_sentence_waits_for_its_cue_no_longer_than_it_takes_to_write() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("I see! [smi") == []
    assert splitter.feed("le] H") == ["I see!"]
