import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.speech.hibari_tts import timed, trimmed
from avatar.speech.phonemes import TimedPhoneme
from avatar.speech.tts import Speech, joined, with_pitch

pytestmark = pytest.mark.unit

RATE = 24_000


def tone(seconds: float, hertz: float = 200.0) -> NDArray[np.float32]:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def durations(*units: int) -> NDArray[np.float32]:
    return np.asarray(units, np.float32) * 0.025


def test_stress_belongs_to_the_vowel_and_marks_are_gaps() -> None:
    sounds = timed("h\u02c8O ʧ.", durations(5, 2, 2, 2, 2, 4, 3, 2), tone(0.55))
    assert [s.symbol for s in sounds] == ["h", "oʊ", "ʧ"]
    starts = [s.start_s + 0.045 for s in sounds]
    ends = [s.end_s + 0.045 for s in sounds]
    assert starts == pytest.approx([0.125, 0.175, 0.325])
    assert ends == pytest.approx([0.175, 0.275, 0.425])


def test_the_last_sound_before_a_pause_ends_where_it_fades() -> None:
    samples = np.concatenate([tone(0.3), np.zeros(12_000, np.float32)])
    (sound,) = timed("i.", durations(5, 20, 2, 1), samples)
    assert sound.start_s == pytest.approx(0.08)
    assert sound.end_s == pytest.approx(0.3, abs=0.01)


def test_no_sound_begins_before_the_utterance() -> None:
    (sound,) = timed("i", durations(1, 4, 1), tone(0.15))
    assert sound.start_s == 0


def test_silence_before_the_first_sound_is_cut_and_times_follow() -> None:
    speech = Speech(tone(1.0), RATE, (TimedPhoneme("i", 0.4, 0.6),))
    cut = trimmed(speech)
    assert cut.seconds == pytest.approx(0.7)
    assert cut.phonemes[0].start_s == pytest.approx(0.1)
    assert cut.phonemes[0].end_s == pytest.approx(0.3)
    assert np.array_equal(cut.samples, speech.samples[7200:])


@pytest.mark.parametrize("pitch", [0.76, 1.25])
def test_pitch_changes_tone_tempo_and_times_together(pitch: float) -> None:
    speech = with_pitch(Speech(tone(1.0), RATE, (TimedPhoneme("i", 0.5, 1.0),)), pitch)
    assert speech.seconds == pytest.approx(1 / pitch, abs=1e-3)
    assert speech.phonemes[0].start_s == pytest.approx(0.5 / pitch)
    assert speech.phonemes[0].end_s == pytest.approx(1 / pitch)
    spectrum = np.abs(np.fft.rfft(speech.samples * np.hanning(len(speech.samples))))
    assert np.argmax(spectrum) / speech.seconds == pytest.approx(200 * pitch, abs=2)


def test_joined_parts_keep_their_times() -> None:
    part = Speech(tone(0.5), RATE, (TimedPhoneme("i", 0.1, 0.2),))
    whole = joined([part, part])
    assert whole.seconds == 1.0
    assert [p.start_s for p in whole.phonemes] == pytest.approx([0.1, 0.6])
