"""Phonemes become mouth shapes that close when they must."""

# ruff: noqa: RUF001  # IPA letters are meant

import numpy as np
import pytest

from avatar.speech.phonemes import TimedPhoneme
from training.data.corpus import HELD_OUT, TRAIN
from training.data.visemes import MOUTH_NAMES, mouth_curves, visemes_of

pytestmark = pytest.mark.unit

OPEN, WIDE, ROUND = (MOUTH_NAMES.index(name) for name in ("open", "wide", "round"))


def spoken(symbols: str, start_s: float = 0.5, each_s: float = 0.08) -> list[TimedPhoneme]:
    return [
        TimedPhoneme(symbol, start_s + index * each_s, start_s + (index + 1) * each_s)
        for index, symbol in enumerate(symbols.split())
    ]


def test_no_phonemes_is_a_shut_mouth_of_the_right_length() -> None:
    curves = mouth_curves([], 2.0)
    assert curves.shape == (50, 5)
    assert curves.dtype == np.float32
    assert not curves.any()


def test_the_mouth_is_shut_exactly_before_and_after_speech() -> None:
    curves = mouth_curves(spoken("h ə l oʊ"), 2.0)
    assert curves[:, OPEN].max() > 0.3
    assert not curves[:9].any()
    assert not curves[26:].any()


def test_a_pause_between_sentences_is_exactly_shut() -> None:
    phonemes = spoken("ɑ ɑ ɑ ɑ") + spoken("ɑ ɑ ɑ ɑ", start_s=1.5)
    curves = mouth_curves(phonemes, 2.5)
    assert not curves[26:34].any()


@pytest.mark.parametrize("closure", ["m", "b", "p"])
@pytest.mark.parametrize("shift_s", [0.0, 0.01, 0.02, 0.03])
def test_lips_close_on_bilabials_however_short(closure: str, shift_s: float) -> None:
    phonemes = spoken(f"ɑ {closure} ɑ", start_s=0.5 + shift_s, each_s=0.05)
    phonemes = [
        TimedPhoneme("ɑ", 0.3, phonemes[0].end_s),
        phonemes[1],
        TimedPhoneme("ɑ", phonemes[2].start_s, 0.9),
    ]
    opening = mouth_curves(phonemes, 1.5)[:, OPEN]
    assert opening[12:17].min() == 0.0
    assert opening.max() > 0.7


def test_vowels_have_their_own_shapes() -> None:
    def middle(symbol: str) -> np.ndarray:
        return mouth_curves([TimedPhoneme(symbol, 0.5, 1.5)], 2.0)[25]

    assert middle("ɑ")[OPEN] > 0.85 > middle("i")[OPEN]
    assert middle("i")[WIDE] > 0.7 > middle("u")[WIDE]
    assert middle("u")[ROUND] > 0.8 > middle("i")[ROUND]


@pytest.mark.parametrize(
    ("ipa", "espeak"),
    [("iː", "i:"), ("ʃ", "S"), ("tʃ", "tS"), ("oʊ", "oU"), ("ɜː", "3:"), ("θ", "T"), ("ŋ", "N")],
)
def test_ipa_and_espeak_mnemonics_agree(ipa: str, espeak: str) -> None:
    assert visemes_of(ipa) == visemes_of(espeak) != ()


@pytest.mark.parametrize("mark", ["ˈ", "ː", " ", ",", ".", "?", "_:", "_"])
def test_marks_have_no_shape_of_their_own(mark: str) -> None:
    assert visemes_of(mark) == ()


def test_a_word_boundary_does_not_shut_the_mouth() -> None:
    curves = mouth_curves(spoken("ɑ ɑ _ ɑ ɑ"), 1.5)
    assert curves[13:21, OPEN].min() > 0.5


def test_the_mouth_opens_when_the_vowel_sounds() -> None:
    opening = mouth_curves([TimedPhoneme("ɑ", 1.0, 1.2)], 2.0)[:, OPEN]
    peak_s = (opening.argmax() + 0.5) / 25
    assert 1.0 <= peak_s <= 1.2


def test_held_out_sentences_are_never_trained_on() -> None:
    assert len(TRAIN) >= 400
    assert len(HELD_OUT) == 40
    assert not set(TRAIN) & set(HELD_OUT)
