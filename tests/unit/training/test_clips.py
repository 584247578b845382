"""Clips are made once, alike every time, and hold the truth of their pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.cast.characters import Voice, character_of
from avatar.speech.phonemes import TimedPhoneme
from training.data.clips import QUICK, Order, finished_clips, make_clips, make_data
from training.data.flite_engine import FliteEngine, _timed
from training.data.looks import LOOKS
from training.data.renderer import PortraitRenderer
from training.data.speech import SAMPLE_RATE, SpeechEngine, Utterance

pytestmark = pytest.mark.unit


class Vowels:
    """A speech engine that says "ah" for 0.3 s."""

    def speak(self, text: str, voice: Voice | None, rng: np.random.Generator, /) -> Utterance:
        tone = np.sin(np.arange(int(0.4 * SAMPLE_RATE)) * 0.05).astype(np.float32)
        return Utterance(tone, (TimedPhoneme("ɑ", 0.05, 0.35),))  # noqa: RUF001  # IPA


ENGINES: list[SpeechEngine] = [Vowels()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return make_clips(folder, character_of("pixel"), 2, 0.96, 7, ENGINES)


def test_a_clip_is_what_its_own_curves_draw(made: Path) -> None:
    clip = next(finished_clips(made))
    assert clip.frames.shape == (24, 256, 256, 3)
    assert clip.audio.shape == (24 * SAMPLE_RATE // 25,)
    assert clip.mouth.shape == (24, 5)
    assert clip.controls.shape == (24, 11)
    assert clip.motion.shape == (24, 32, 32, 2)
    renderer = PortraitRenderer(LOOKS["pixel"])
    for index in (0, 11, 23):
        drawn = renderer.frame(clip.mouth[index], clip.controls[index])
        np.testing.assert_array_equal(drawn, clip.frames[index])
        np.testing.assert_array_equal(renderer.motion().astype(np.float16), clip.motion[index])


def test_clips_differ_and_are_the_same_again(made: Path, tmp_path: Path) -> None:
    again = make_clips(tmp_path, character_of("pixel"), 2, 0.96, 7, ENGINES)
    first, second = (list(finished_clips(folder)) for folder in (made, again))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.audio, other.audio)
    assert (first[0].controls != first[1].controls).any()


def test_finished_clips_are_kept_and_missing_ones_made(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pixel"
    shutil.copytree(made, folder)
    whole = np.load(folder / "00001.frames.npy")
    (folder / "00001.npz").unlink()  # as if it had been stopped there
    (folder / "00001.frames.npy").write_bytes(b"half")
    kept = (folder / "00000.npz").stat().st_mtime_ns
    heard: list[int] = []
    make_clips(
        tmp_path, character_of("pixel"), 2, 0.96, 7, ENGINES, on_clip=lambda i, _: heard.append(i)
    )
    assert heard == [1]
    assert (folder / "00000.npz").stat().st_mtime_ns == kept
    np.testing.assert_array_equal(np.load(folder / "00001.frames.npy"), whole)


def test_one_command_makes_an_order_and_says_how(tmp_path: Path) -> None:
    pytest.importorskip("hibari", reason="hibari-tts speaks in the training data")
    order = Order(characters=("pixel",), clips=1, seconds=0.48, engines=("hibari",))
    make_data(tmp_path, order)
    about = json.loads((tmp_path / "clips.json").read_text())
    assert about["made_frames"] == 12
    assert about["characters"] == ["pixel"]
    assert (tmp_path / "pixel" / "portrait.npy").exists()
    assert QUICK.clips < Order().clips


def test_segments_of_several_sentences_follow_each_other() -> None:
    printed = "pau:0.2 hh:0.3 aw:0.5 pau:0.6 \npau:0.1 n:0.2 ow:0.4 \n"
    sounds = list(_timed(printed, 1.0))
    assert [s.symbol for s in sounds] == ["h", "aʊ", "n", "oʊ"]
    times = [(round(s.start_s, 3), round(s.end_s, 3)) for s in sounds]
    assert times == [(0.2, 0.3), (0.3, 0.5), (0.7, 0.8), (0.8, 1.0)]


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_flite_tells_when_it_speaks() -> None:
    said = FliteEngine().speak("Papa.", Voice(1.0, 1.0), np.random.default_rng(0))
    assert [p.symbol for p in said.phonemes] == ["p", "ɑ", "p", "ə"]  # noqa: RUF001  # IPA
    vowel = said.phonemes[1]
    level = [
        float(np.abs(said.samples[int(a * SAMPLE_RATE) : int(b * SAMPLE_RATE)]).mean())
        for a, b in ((vowel.start_s, vowel.end_s), (0.0, said.phonemes[0].start_s))
    ]
    assert level[0] > 10 * level[1]
