"""What a receiver makes of packets, reports, marks and faces."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio.resample import resample
from avatar.engines.pattern import Mark
from avatar.errors import NotFound
from avatar.speech.marker import symbols_of
from avatar.speech.phonemes import TimedPhoneme
from avatar.speech.tones import tone
from avatar.speech.tts import Speech, Voice
from bench.live import lateness_ms, punctual_s
from bench.receiver_browser import BrowserCall
from bench.receiver_faces import Face, compare_mouths, find_sentences, picture_change
from bench.receiver_marks import (
    HeardTone,
    ShownMark,
    drift_ms,
    frame_rate,
    longest_wait_s,
    offsets,
    tones_heard,
)
from bench.receiver_tracks import PICTURE_RATE, SOUND_RATE, WRAP, Track, Unwrapper, sound_of
from tests.fakes.speech import PlainVoice
from training.data.visemes import mouth_curves

pytestmark = pytest.mark.unit


def test_timestamps_go_on_after_32_bits_and_back_again() -> None:
    unwrapper = Unwrapper()
    given = [WRAP - 10, 5, WRAP - 3, 20]
    assert [unwrapper.map(each) - WRAP for each in given] == [-10, 5, -3, 20]


def test_media_are_due_by_the_last_report_at_or_before_them() -> None:
    track: Track[None] = Track(90_000)
    with pytest.raises(ValueError, match="no sender report"):
        track.due_s(0)
    track.note_report(1000, 50 * WRAP)
    track.note_report(91_000, 52 * WRAP)  # a second of media later, two seconds of time
    assert [track.due_s(rtp) for rtp in (910, 1000, 46_000, 91_000, 181_000)] == [
        49.999, 50.0, 50.5, 52.0, 53.0,
    ]  # fmt: skip


def test_sound_is_laid_by_its_timestamps_and_gaps_are_silent() -> None:
    track: Track[NDArray[np.int16]] = Track(SOUND_RATE)
    for rtp in (5000, 5960, 7880):
        track.note_packet(rtp, 1.0)
        track.note_decoded(rtp, np.full(960, 16_384, np.int16))
    first, samples = sound_of(track)
    assert first == 5000
    assert samples.size == 4 * 960
    assert [float(samples[at]) for at in (0, 1919, 1920, 2879, 2880)] == [0.5, 0.5, 0, 0, 0.5]


def test_lateness_counts_from_the_most_punctual_packet() -> None:
    sound: Track[None] = Track(SOUND_RATE)
    pictures: Track[None] = Track(PICTURE_RATE)
    for track, late_s in ((sound, 0.0), (pictures, 0.03)):
        track.note_report(0, 100 * WRAP)
        for number in range(10):
            track.note_packet(number * track.rate // 50, 7.0 + number / 50 + late_s)
    assert punctual_s(sound, pictures) == pytest.approx(7.0 - 100.0)
    heard, seen = lateness_ms(sound, pictures)
    assert heard["most"] == pytest.approx(0, abs=0.01)
    assert seen["median"] == pytest.approx(30, abs=0.01)


def test_tones_are_due_where_they_begin() -> None:
    track: Track[NDArray[np.int16]] = Track(SOUND_RATE)
    track.note_report(0, 10 * WRAP)
    symbols = symbols_of("Mark 1 from 30.")
    sound = np.concatenate([np.zeros(1920, np.float32), *(tone(s, SOUND_RATE) for s in symbols)])
    for at in range(0, sound.size - 959, 960):
        track.note_decoded(at, (sound[at : at + 960] * 32767).astype(np.int16))
    heard = tones_heard(track)
    assert [each.symbol for each in heard] == symbols
    expected = 10.04 + 0.04 * np.arange(25)
    assert np.allclose([each.due_s for each in heard], expected, atol=0.001)


def shown(number: int, late_ms: float) -> ShownMark:
    return ShownMark(0.04 * number + late_ms / 1000, 0.0, Mark(number, 0, number % 240, -8.0))


def test_offsets_are_pictures_less_tones_and_repeats_do_not_count() -> None:
    tones = [HeardTone(0.04 * n - 0.008, 0.0, n % 240) for n in range(500)]
    seen = [shown(n, 12.0 + n / 100) for n in range(100, 500)]
    stalled = [seen[0], ShownMark(4.7, 0.0, seen[0].mark), ShownMark(4.8, 0.0, None), *seen[1:]]
    found = offsets(tones, stalled)
    assert np.allclose(found.ms, 12 + np.arange(100, 500) / 100)
    assert (found.num_only_shown, found.num_only_heard) == (0, 100)
    assert drift_ms(found) == pytest.approx(3.6)


def test_a_number_that_never_sounded_is_told() -> None:
    found = offsets([HeardTone(0.0, 0.0, 1)], [shown(3, 0.0), shown(1, 0.0)])
    assert (found.num_only_shown, found.num_only_heard) == (1, 0)


def test_rates_and_waits_count_new_pictures() -> None:
    pairs = [ShownMark(0.04 * n, 0.0, Mark(n // 2, 0)) for n in range(101)]
    assert frame_rate(pairs) == pytest.approx(12.5)
    assert longest_wait_s([0.0, 0.1, 0.5, 0.6]) == pytest.approx(0.4)


# Faces


@dataclass
class Babble:
    """A voice whose sentences are noise of their own."""

    label: str = "babble"

    def synthesize(self, text: str, voice: Voice, /) -> Speech:
        rng = np.random.default_rng(len(text))
        seconds = 0.2 * len(text.split())
        samples = (0.2 * rng.normal(size=round(seconds * 24_000))).astype(np.float32)
        sounds = ("o", "m")
        phonemes = tuple(
            TimedPhoneme(sounds[n % 2], 0.1 * n, 0.1 * (n + 1)) for n in range(round(seconds * 10))
        )
        return Speech(samples, 24_000, phonemes)

    def close(self) -> None:
        pass


TEXTS = ["one two three four five six seven eight", "and then a good many others besides"]


def recorded(lead_s: float) -> NDArray[np.float32]:
    parts = [np.zeros(round(lead_s * SOUND_RATE), np.float32)]
    for text in TEXTS:
        parts.append(resample(Babble().synthesize(text, PlainVoice()).samples, 24_000, SOUND_RATE))
        parts.append(np.zeros(SOUND_RATE // 2, np.float32))
    return np.concatenate([*parts, np.zeros(SOUND_RATE, np.float32)])


def test_sentences_are_found_where_they_sound() -> None:
    found = find_sentences(recorded(1.5), TEXTS, "mira", Babble())
    assert [each.start / SOUND_RATE for each in found] == pytest.approx([1.5, 3.6], abs=0.001)
    with pytest.raises(NotFound, match="is not in the sound"):
        find_sentences(recorded(1.5), ["quite another one"], "mira", Babble())


@pytest.mark.parametrize("late_frames", [0, 2])
def test_a_mouth_is_laid_beside_its_speech(late_frames: int) -> None:
    """The pictures show exactly what the speech asks for, `late_frames` late."""
    spoken = find_sentences(recorded(2.0), TEXTS, "mira", Babble())
    due_s = 700.0 + np.arange(300) / 25
    seen = np.zeros(300, np.float32)
    for each in spoken:
        curve = mouth_curves(each.speech.phonemes, each.speech.seconds)[:, 0]
        first = round(each.start / SOUND_RATE * 25) + late_frames
        seen[first : first + len(curve)] = curve
    begins_s = [700.0 + each.start / SOUND_RATE for each in spoken]
    mouths = compare_mouths(due_s, seen, spoken, begins_s)
    assert mouths.sync.correlation > 0.9
    assert mouths.sync.lag_ms == 40 * late_frames
    assert mouths.rest_share(closed=0.0) < 0.01
    strange = np.random.default_rng(1).random(len(mouths.truth)).astype(np.float32)
    assert abs(mouths.with_other(strange, np.ones(len(strange), np.bool_))) < 0.3


def test_a_picture_given_twice_has_not_changed() -> None:
    rng = np.random.default_rng(0)
    small = [rng.random((32, 32)).astype(np.float32) for _ in range(3)]
    faces = [Face(np.zeros((96, 96, 3), np.uint8), small[n]) for n in (0, 0, 1, 2, 2)]
    assert (picture_change(faces) > 0).tolist() == [False, True, True, False]


# A browser's clocks


def test_a_sample_is_heard_by_the_sound_graphs_clock_nearby() -> None:
    """After 10 s the graph stood still for 300 ms; the page looks at its clock up to 20 ms late."""
    context_s = np.arange(400) / 20
    late_ms = np.random.default_rng(0).uniform(0, 20, 400)
    late_ms[::10] = 0
    now_ms = 5000 + 1000 * context_s + 300 * (context_s > 10) + late_ms
    clock = np.stack([context_s, now_ms, context_s, now_ms], 1)
    call = BrowserCall(48_000, np.zeros(20 * 48_000, np.int16), clock, [], [], [])
    assert call.heard_ms(4 * 48_000) == pytest.approx(10_000)
    assert call.heard_ms(14 * 48_000) == pytest.approx(20_300)
    assert call.sample_at(10_000) == pytest.approx(4 * 48_000, abs=1000)
    assert call.sample_at(20_300) == pytest.approx(14 * 48_000, abs=1000)
