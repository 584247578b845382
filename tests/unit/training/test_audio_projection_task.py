"""The code of the audio projection: what it is taught, and how it comes into a DiT."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from avatar.models.dit import AudioConfig
from tests.fakes.networks import small_dit
from training.tasks.audio_encoder import SAMPLES_PER_FRAME, songs_beside
from training.tasks.audio_projection import AudioProjectionTask, give_code

pytestmark = pytest.mark.unit

FRAMES = 4000
CONFIG = AudioConfig(dim=96, tokens_per_latent=8, hidden_dim=16, code_dim=6)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> AudioProjectionTask:
    """Noise, and mouths whose opening is the number of their frame."""
    path: Path = tmp_path_factory.mktemp("sounds") / "speech.npz"
    rng = np.random.default_rng(0)
    samples = rng.integers(-9000, 9000, FRAMES * SAMPLES_PER_FRAME).astype(np.int16)
    curves = np.zeros((FRAMES, 5), np.float32)
    curves[:, 0] = np.arange(FRAMES)
    np.savez(path, samples=samples, curves=curves)
    np.savez(songs_beside(path), voice=samples, backing=samples, curves=curves)
    torch.manual_seed(0)
    return AudioProjectionTask(path, AudioEncoder(AudioEncoderConfig()), CONFIG)


def test_a_window_lies_around_the_frames_it_must_tell(task: AudioProjectionTask) -> None:
    starts = np.array([100, 300])
    samples, curves = task.sounds.windows(task.sounds.speech, starts)
    windows, target = task.windows(samples, curves)
    tokens = task.sounds.tokens(samples)
    count = len(windows) // 2
    for row, start in enumerate(starts):
        for place in (0, count - 1):
            first = int(target[row * count + place, 0, 0]) - int(start)
            assert first == 4 * (place + CONFIG.reach)
            begin = 2 * (first - 4 * CONFIG.reach)
            expected = tokens[row, begin : begin + 40].unflatten(0, (5, 8))
            assert torch.equal(windows[row * count + place], expected)


def test_only_the_projection_learns(task: AudioProjectionTask) -> None:
    loss, _ = task.loss(0, np.random.default_rng(0))
    loss.backward()
    assert task.projection.proj1.weight.grad is not None
    assert task.projection.proj3.weight.grad is None
    assert all(p.grad is None for p in task.encoder.parameters())


def test_a_dit_takes_the_code_and_keeps_it() -> None:
    model = small_dit().requires_grad_(True)
    shapes = {k: v.shape for k, v in model.audio_projection.state_dict().items()}
    trained = {f"projection.{k}": torch.full(shape, 0.5) for k, shape in shapes.items()}
    give_code(model, trained)
    assert (model.audio_projection.proj2.weight == 0.5).all()
    assert not model.audio_projection.proj2.weight.requires_grad
    assert not (model.audio_projection.proj3.weight == 0.5).all()
    assert model.audio_projection.proj3.weight.requires_grad
