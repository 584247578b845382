"""Made music has its beats where it says, and a singer its words."""

import numpy as np
import pytest

from avatar.speech.phonemes import TimedPhoneme
from training.data.instruments import FAMILIES, instrument, note, plucked
from training.data.music import STYLES, hertz_of, make_piece
from training.data.singing import Choir, Line, Note, Singer, laid_on
from training.data.songs import loudness, make_song

pytestmark = pytest.mark.unit

CONSONANT_S = 0.06
PLAIN = Singer(1.0, 60, 0.0)


def pitch_of(samples: np.ndarray, near_hz: float) -> float:
    """The strongest frequency within a third of an octave of `near_hz`."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 17))
    hertz = np.fft.rfftfreq(1 << 17, 1 / 16_000)
    near = (hertz > near_hz * 0.8) & (hertz < near_hz * 1.25)
    return float(hertz[near][spectrum[near].argmax()])


@pytest.mark.parametrize("style", STYLES)
def test_a_piece_is_whole_repeatable_and_loud_enough(style: str) -> None:
    how = STYLES[style]
    assert {len(row) for row in (how.kick, how.snare, how.hat, how.bass, how.chords)} == {
        2 * how.beats_per_bar
    }
    one, again = (make_piece(np.random.default_rng(5), style, 4.0) for _ in range(2))
    np.testing.assert_array_equal(one.samples, again.samples)
    assert len(one.samples) == 64_000
    assert how.bpm[0] <= one.bpm <= how.bpm[1]
    assert 0.7 < np.abs(one.samples).max() <= 0.8001
    np.testing.assert_allclose(np.diff(one.beats_s), 60.0 / one.bpm)


def test_drums_sound_on_the_beats_of_a_piece() -> None:
    piece = make_piece(np.random.default_rng(1), "house", 6.0, bpm=120)
    power = (piece.samples[: 6 * 16_000].reshape(-1, 80) ** 2).mean(axis=1)
    at = np.round(piece.beats_s[:-1] * 200).astype(int)
    after = np.stack([power[a : a + 10].mean() for a in at])
    before = np.stack([power[a - 12 : a - 4].mean() for a in at])
    assert np.median(after) > 2 * np.median(before)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_instrument_plays_the_note_it_is_asked_for(family: str) -> None:
    rng = np.random.default_rng(2)
    played = note(220.0, 0.8, instrument(family, rng), rng)
    assert len(played) == int(0.86 * 16_000)
    assert pitch_of(played, 220.0) == pytest.approx(220.0, rel=0.02)


def test_a_plucked_string_sounds_its_pitch_and_dies() -> None:
    sound = plucked(200.0, 1.5, np.random.default_rng(3))
    assert pitch_of(sound, 200.0) == pytest.approx(200.0, rel=0.02)
    assert np.abs(sound[:2000]).mean() > 5 * np.abs(sound[-4000:]).mean()


def words() -> Line:
    """Two syllables, "ba la", as spoken."""
    times = [("b", 0.1, 0.16), ("ɑ", 0.16, 0.3), ("l", 0.3, 0.36), ("ɑ", 0.36, 0.5)]  # noqa: RUF001  # IPA
    return Line((), tuple(TimedPhoneme(*each) for each in times))


def test_vowels_begin_on_their_notes_and_consonants_stay_short() -> None:
    notes = [Note(1.0, 2.0, 60), Note(2.0, 4.0, 64)]
    b, a, l_, last = laid_on(words(), notes)
    assert (a.start_s, last.start_s, last.end_s) == (1.0, 2.0, 4.0)
    assert b.end_s - b.start_s == pytest.approx(CONSONANT_S)
    assert l_.end_s - l_.start_s == pytest.approx(CONSONANT_S)
    assert (b.end_s, a.end_s, l_.end_s) == (a.start_s, l_.start_s, last.start_s)


def test_fast_notes_leave_every_vowel_some_time() -> None:
    notes = [Note(1.0, 1.12, 60), Note(1.12, 1.24, 60)]
    sounds = laid_on(words(), notes)
    edges = [edge for sound in sounds for edge in (sound.start_s, sound.end_s)]
    assert edges == sorted(edges)
    assert sounds[1].end_s - sounds[1].start_s >= 0.06


@pytest.fixture(scope="module")
def choir() -> Choir:
    return Choir()


def test_a_voice_sings_the_notes_when_they_are_due(choir: Choir) -> None:
    line = choir.read("La la.")
    assert line is not None
    notes = [Note(0.5, 1.5, 57), Note(1.5, 2.7, 62)]
    sung = choir.sing(line, notes, PLAIN, np.random.default_rng(0))
    for each in notes:
        middle = sung.samples[
            int((each.start_s + 0.25) * 16_000) : int((each.end_s - 0.2) * 16_000)
        ]
        assert pitch_of(middle, hertz_of(each.midi)) == pytest.approx(hertz_of(each.midi), rel=0.02)
    assert not sung.samples[: int(0.3 * 16_000)].any()
    starts = [p.start_s for p in sung.phonemes if p.symbol not in "lL"]
    assert starts == pytest.approx([0.5, 1.5])


def test_a_line_wants_a_note_for_each_syllable(choir: Choir) -> None:
    line = choir.read("La la.")
    assert line is not None
    with pytest.raises(ValueError, match="1 notes given for 2 syllables"):
        choir.sing(line, [Note(0.0, 1.0, 60)], PLAIN, np.random.default_rng(0))


def test_the_mouth_of_a_song_moves_where_there_is_a_voice(choir: Choir) -> None:
    song = make_song(np.random.default_rng(1), "pop", 8.0, choir)
    level = np.sqrt((song.voice.reshape(200, -1) ** 2).mean(axis=1))
    opening = song.curves[:, 0]
    assert opening.max() > 0.5
    assert level[opening > 0.3].mean() > 10 * level[opening == 0].mean()
    assert np.abs(song.mixed()).max() == pytest.approx(0.9)
    assert loudness(song.backing) > 0
