"""The marker voice: which tones a text becomes."""

import numpy as np
import pytest

from avatar.audio.resample import resample
from avatar.errors import InvalidInput
from avatar.media import SPEECH_RATE
from avatar.speech.marker import (
    COUNT,
    WORD_SYMBOLS,
    MarkerSynthesizer,
    Stall,
    counter,
    counter_start,
    order_of,
    symbols_of,
)
from avatar.speech.tones import read_tones
from tests.fakes.speech import PlainVoice

pytestmark = pytest.mark.unit


def test_a_mark_counts_for_as_long_as_it_says() -> None:
    assert symbols_of("mark 1.") == list(range(25))
    assert symbols_of("Mark 20 from 230") == [(230 + i) % COUNT for i in range(500)]


def test_the_voice_says_what_it_is_told() -> None:
    speech = MarkerSynthesizer().synthesize("mark 4 from 100.", PlainVoice())
    assert speech.seconds == 4.0
    sound = resample(speech.samples, speech.sample_rate, SPEECH_RATE)
    heard = read_tones(np.concatenate([np.zeros(160, np.float32), sound]))
    assert [each.symbol for each in heard] == counter(100, 100)


def test_a_word_lasts_eight_symbols_and_each_text_counts_from_elsewhere() -> None:
    texts = ["One moment please.", "There it is."]
    for text in texts:
        assert symbols_of(text) == counter(counter_start(text), 3 * WORD_SYMBOLS)
    assert counter_start(texts[0]) != counter_start(texts[1])


def test_the_voice_knows_when_each_word_sounds() -> None:
    words = MarkerSynthesizer().synthesize("One moment, please.", PlainVoice()).words
    assert [word.text for word in words] == ["One", "moment,", "please."]
    assert [word.start_s for word in words] == pytest.approx([0.0, 0.32, 0.64])
    assert [word.end_s for word in words] == pytest.approx([0.32, 0.64, 0.96])


def test_a_stall_is_an_order_of_two_symbols() -> None:
    symbol, argument = symbols_of("stall 700 vae_decoder.")
    assert symbol >= COUNT > argument
    assert order_of(symbol, argument) == Stall("vae_decoder", 14)


def test_the_counter_holds_no_order() -> None:
    assert [order_of(a, b) for a in range(COUNT) for b in (0, 1, 31)] == [None] * 3 * COUNT


@pytest.mark.parametrize("text", ["mark 0", "mark 121", "mark 5 from 240", "stall 10 score_worker"])
def test_numbers_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        symbols_of(text)


def test_nothing_to_say_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no word"):
        symbols_of("…")
