"""Learning that instruments are silence, and that speech stays what it was."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from training.data.sounds import make_sound
from training.tasks.audio_encoder import songs_beside
from training.tasks.audio_rest import AudioRestTask, make_sounds, sounds_beside

pytestmark = pytest.mark.unit


@pytest.fixture
def task(tmp_path: Path) -> AudioRestTask:
    rng = np.random.default_rng(0)
    frames = 2000
    loud = (3000 * rng.standard_normal(frames * 640)).astype(np.int16)
    curves = rng.random((frames, 5)).astype(np.float32)
    path = tmp_path / "speech.npz"
    np.savez(path, samples=loud, curves=curves)
    np.savez(songs_beside(path), voice=loud, backing=loud[::-1], curves=curves)
    # a twentieth is held out, and must be longer than one window
    np.savez(sounds_beside(path), samples=loud[::-1] // 2)
    torch.manual_seed(0)
    return AudioRestTask(path, AudioEncoder(AudioEncoderConfig()), batch_size=9)


def test_of_a_voice_alone_it_says_what_it_said_and_of_sounds_alone_nothing(
    task: AudioRestTask,
) -> None:
    heard, voice, kind = task.mixtures(np.random.default_rng(0))
    assert set(kind.tolist()) == {0, 1, 2}
    assert voice[kind == 0].abs().max() == 0
    assert torch.equal(heard[kind == 1], voice[kind == 1])
    assert not torch.equal(heard[kind == 2], voice[kind == 2])
    assert task.known_tokens(voice[kind == 0]).abs().max() == 0
    assert heard.abs().amax(1).min() > 0.03


def test_at_the_beginning_speech_is_known_and_sounds_are_not_silence(task: AudioRestTask) -> None:
    loss, figures = task.loss(0, np.random.default_rng(0))
    assert figures["clean"] == 0
    assert figures["alone"] > 0.1
    loss.backward()
    heads = {id(p) for p in task.model.viseme_head.parameters()}
    learned = [p for p in task.model.parameters() if id(p) not in heads]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)
    assert {"speech_moved", "sound_tokens", "sound_opening"} <= task.validate().keys()


@pytest.mark.parametrize("number", range(12))
def test_sounds_are_heard_and_come_again_from_their_seed(number: int) -> None:
    sound = make_sound(np.random.default_rng((1, number)), 2.0)
    again = make_sound(np.random.default_rng((1, number)), 2.0)
    assert sound.shape == (32_000,)
    assert np.isfinite(sound).all()
    assert 0.01 < np.abs(sound).max() <= 1.0
    assert np.array_equal(sound, again)


def test_sounds_are_made_once(tmp_path: Path) -> None:
    path = tmp_path / "sounds.npz"
    make_sounds(path, 0.005, seed=0)
    made = path.read_bytes()
    make_sounds(path, 0.005, seed=1)
    assert path.read_bytes() == made
