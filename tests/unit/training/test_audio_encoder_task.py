"""What the audio encoder learns from: speech, songs, and instruments alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.tasks.audio_encoder import AudioEncoderTask, at_rest, behind, songs_beside

pytestmark = pytest.mark.unit


@pytest.fixture
def task(tmp_path: Path) -> AudioEncoderTask:
    rng = np.random.default_rng(0)
    frames = 2000
    loud = (3000 * rng.standard_normal(frames * 640)).astype(np.int16)
    curves = rng.random((frames, 5)).astype(np.float32)
    path = tmp_path / "speech.npz"
    np.savez(path, samples=loud, curves=curves)
    np.savez(songs_beside(path), voice=loud, backing=loud[::-1], curves=curves)
    torch.manual_seed(0)
    return AudioEncoderTask(path, batch_size=2, num_songs=4, num_frames=25)


def test_a_batch_has_a_loss_that_reaches_every_weight(task: AudioEncoderTask) -> None:
    loss, figures = task.loss(0, np.random.default_rng(0))
    loss.backward()
    assert np.isfinite(figures["error"])
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.model.parameters())


def test_validation_names_speech_song_and_instruments(task: AudioEncoderTask) -> None:
    told = task.validate()
    assert {"open", "sung_open", "song_open", "music_opening", "music_tokens"} <= told.keys()


def test_music_lies_behind_the_voice_by_the_decibels_asked_for() -> None:
    voice, music = torch.zeros(2, 1000), torch.full((2, 1000), 0.3)
    voice[:, :500] = 0.1
    heard = behind(voice, music, torch.tensor([0.0, 20.0]))
    assert heard[0].abs().max().item() == pytest.approx(0.1, rel=1e-4)
    assert heard[1].abs().max().item() == pytest.approx(0.01, rel=1e-4)


def test_music_without_a_voice_is_still_heard() -> None:
    heard = behind(torch.zeros(1, 10), torch.full((1, 10), 0.5), torch.zeros(1))
    assert heard.abs().max() > 0.05


def test_rest_keeps_away_from_moving_mouths() -> None:
    curves = torch.zeros(1, 20, 5)
    curves[0, 10, 2] = -0.5
    rest = at_rest(curves)[0]
    assert rest.shape == (40,)
    assert (rest == 0).nonzero().flatten().tolist() == list(range(14, 28))
