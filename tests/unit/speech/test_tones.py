"""Tones: a counter that is read back, to the millisecond, after what a call does to sound."""

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio.resample import resample
from avatar.media import SPEECH_RATE
from avatar.speech.tones import NUM_SYMBOLS, SYMBOL_S, Tone, read_tones, tone
from tests.fakes.marks import OPUS_DELAY_S, RATE, through_opus

pytestmark = pytest.mark.unit

SYMBOLS = np.random.default_rng(7).permutation(NUM_SYMBOLS).tolist()


def spoken(symbols: list[int], lead: int, rate: int = 24_000) -> NDArray[np.float32]:
    """Half a second of silence and `lead` samples more, the symbols, and silence again."""
    parts = [np.zeros(rate // 2 + lead, np.float32), *(tone(each, rate) for each in symbols)]
    return np.concatenate([*parts, np.zeros(rate // 4, np.float32)])


def onsets(symbols: list[int], start_s: float) -> list[float]:
    return [start_s + SYMBOL_S * index for index in range(len(symbols))]


def check(found: list[Tone], symbols: list[int], start_s: float, tolerance_s: float) -> None:
    assert [each.symbol for each in found] == symbols
    errors = np.subtract([each.start_s for each in found], onsets(symbols, start_s))
    assert np.abs(errors).max() <= tolerance_s


@pytest.mark.parametrize("lead", [0, 77, 481])
def test_every_symbol_survives_opus_with_its_onset(lead: int) -> None:
    sound = resample(spoken(SYMBOLS, lead), 24_000, RATE)
    heard = resample(through_opus(sound), RATE, SPEECH_RATE)
    check(read_tones(heard), SYMBOLS, 0.5 + lead / 24_000 + OPUS_DELAY_S, tolerance_s=0.002)


def test_a_quiet_call_reads_as_well() -> None:
    heard = 0.05 * resample(spoken(SYMBOLS, 5), 24_000, SPEECH_RATE)
    check(read_tones(heard), SYMBOLS, 0.5 + 5 / 24_000, tolerance_s=0.002)


def test_noise_twenty_decibels_below_changes_no_symbol() -> None:
    heard = resample(spoken(SYMBOLS, 0), 24_000, SPEECH_RATE)
    noise = np.random.default_rng(0).normal(size=heard.size) * 0.02
    found = read_tones((heard + noise).astype(np.float32))
    check(found, SYMBOLS, 0.5, tolerance_s=0.002)


def test_silence_noise_and_a_single_tone_are_no_symbol() -> None:
    noise = np.random.default_rng(0).normal(size=SPEECH_RATE) * 0.1
    time = np.arange(SPEECH_RATE) / SPEECH_RATE
    beeps = np.sin(2 * np.pi * 700 * time) * (time % 0.1 < 0.05)
    for sound in (np.zeros(SPEECH_RATE), noise, beeps, np.zeros(0)):
        assert read_tones(sound.astype(np.float32)) == []


def test_a_symbol_cut_short_is_not_read() -> None:
    heard = np.concatenate([np.zeros(2000, np.float32), tone(65, SPEECH_RATE)[:400]])
    assert read_tones(heard) == []


@pytest.mark.parametrize("symbol", [-1, NUM_SYMBOLS])
def test_there_is_no_tone_for_another_number(symbol: int) -> None:
    with pytest.raises(ValueError, match=f"symbol {symbol} given"):
        tone(symbol, SPEECH_RATE)
