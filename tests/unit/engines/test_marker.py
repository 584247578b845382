"""The marker engines: each frame shows the tone that sounds with it, and which frame it is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.audio.resample import resample
from avatar.cast.profiles import PROFILES
from avatar.engines.marker import MARKER, MarkerAudioEncoder, MarkerScore, MarkerVaeDecoder
from avatar.engines.pattern import Mark, read
from avatar.errors import InvalidInput, NotFound
from avatar.media import SPEECH_RATE
from avatar.render import speech_chunks
from avatar.speech.marker import MarkerSynthesizer, counter
from avatar.speech.tones import read_tones
from tests.fakes.marks import Spec, marker_frames, marker_video
from tests.fakes.speech import PlainVoice

pytestmark = pytest.mark.unit

SILENCE = np.zeros(SPEECH_RATE, np.float32)


def said(*texts: str) -> NDArray[np.float32]:
    voice = MarkerSynthesizer()
    return np.concatenate(
        [
            resample(speech.samples, speech.sample_rate, SPEECH_RATE)
            for speech in (voice.synthesize(text, PlainVoice()) for text in texts)
        ]
    )


def marks_of(frames: NDArray[np.uint8]) -> list[Mark]:
    marks = [read(frame) for frame in frames]
    assert None not in marks
    return [mark for mark in marks if mark is not None]


def seen_at(marks: Sequence[Mark], fps: int) -> list[tuple[int, float]]:
    """Each symbol that is shown, and when its sound begins by what the frames say, in seconds."""
    return [
        (mark.symbol, mark.frame / fps + mark.phase_ms / 1000)
        for mark in marks
        if mark.symbol is not None
    ]


@pytest.mark.parametrize("lead", [0, 1, 100, 320, 512, 639])
def test_a_frame_shows_the_tone_that_sounds_with_it(lead: int) -> None:
    speech = np.concatenate([SILENCE[:lead], SILENCE, said("mark 4 from 30."), SILENCE])
    marks = marks_of(marker_video(speech))
    sounds = [(tone.symbol, tone.start_s) for tone in read_tones(speech)]
    shown = seen_at(marks, 25)
    assert [symbol for symbol, _ in shown] == [symbol for symbol, _ in sounds] == counter(30, 100)
    assert np.allclose([at for _, at in shown], [at for _, at in sounds], atol=0.0003)


@pytest.mark.parametrize("lead", [0, 100, 320, 639, 999])
def test_16_frames_a_second_show_the_last_tone_of_each(lead: int) -> None:
    """A frame is 62.5 ms, a symbol 40: about every third symbol is heard only."""
    speech = np.concatenate([SILENCE[:lead], SILENCE, said("mark 4 from 30."), SILENCE])
    frames = marker_video(speech, profile=PROFILES["marker-16"])
    assert frames.shape[1:] == (320, 240, 3)
    shown = seen_at(marks_of(frames), 16)
    begins = {tone.symbol: tone.start_s for tone in read_tones(speech)}
    assert len(begins) == 100
    assert 63 <= len(shown) <= 65
    assert [symbol for symbol, _ in shown] == sorted({symbol for symbol, _ in shown})
    assert np.allclose([at for _, at in shown], [begins[each] for each, _ in shown], atol=0.0003)


def test_a_frame_knows_its_place_and_epoch() -> None:
    chunks = [
        replace(chunk, stamp=replace(chunk.stamp, epoch=chunk.stamp.seq // 2))
        for chunk in speech_chunks(np.zeros(4 * 7680, np.float32), MARKER.clock)
    ]
    marks = marks_of(marker_frames(chunks))
    assert [mark.frame for mark in marks] == list(range(48))
    assert [mark.epoch for mark in marks] == [0] * 24 + [1] * 24
    assert {mark.symbol for mark in marks} == {None}


@pytest.mark.parametrize("stage", ["audio_encoder", "score_worker", "vae_decoder"])
def test_an_order_makes_one_stage_stand_still_once(stage: str) -> None:
    slept: list[float] = []
    marker_video(said("mark 1.", f"stall 700 {stage}.", "mark 2."), slept.append)
    assert slept == [0.7]


def test_an_order_across_two_chunks_is_obeyed() -> None:
    speech = np.concatenate([said("mark 0.44."), said("stall 300 score_worker."), said("mark 1.")])
    assert len(said("mark 0.44.")) == 11 * 640  # its two symbols are the last frame and the first
    slept: list[float] = []
    marker_video(speech, slept.append)
    assert slept == [0.3]


def test_the_sound_decides_not_the_text() -> None:
    speech = said("mark 2.")
    speech[16_000 : 16_000 + 640] = 0  # the 25th tone is lost on its way
    symbols = [mark.symbol for mark in marks_of(marker_video(speech))]
    assert symbols[:50] == [*range(25), None, *range(26, 50)]


def test_bad_input_is_refused() -> None:
    chunk = next(speech_chunks(SILENCE, MARKER.clock))
    encoder, score, decoder = MarkerAudioEncoder(), MarkerScore(), MarkerVaeDecoder()
    with pytest.raises(InvalidInput, match="24000 Hz"):
        encoder.step(replace(chunk, sample_rate=24_000), encoder.init_state(Spec()))
    with pytest.raises(InvalidInput, match="7679 samples"):
        encoder.step(replace(chunk, samples=chunk.samples[:-1]), encoder.init_state(Spec()))
    embedding, _ = encoder.step(chunk, encoder.init_state(Spec()))
    with pytest.raises(InvalidInput, match="embedding"):
        score.step(replace(embedding, tokens=embedding.tokens[:, :, :4]), None)
    latents, _ = score.step(embedding, None)
    with pytest.raises(InvalidInput, match="latents"):
        decoder.step(replace(latents, given=latents.latents[..., :4]), None)


def test_an_unknown_avatar_is_refused() -> None:
    for engine in (MarkerScore(), MarkerVaeDecoder()):
        with pytest.raises(NotFound, match="nobody"):
            engine.init_state(Spec("nobody"))
