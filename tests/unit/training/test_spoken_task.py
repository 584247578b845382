"""Rollouts to speech that nobody drew: what they hear, and what they are judged by."""

import numpy as np
import pytest
import torch

from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from avatar.sampling.policy import NATIVE_2_STEP
from tests.fakes.networks import small_dit
from training.tasks.audio_encoder import SAMPLES_PER_FRAME
from training.tasks.batch import Stretch
from training.tasks.distill import SELF_FORCING, DistillTask
from training.tasks.latent_reader import WINDOW, LatentReader, mouth_cells
from training.tasks.spoken import Spoken, SpokenTask, besides_mouths

pytestmark = pytest.mark.unit

FRAMES, REACH, LENGTH = 1000, 2, 3
BOX = (80, 124, 176, 204)


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    """Noise, and mouths whose opening is the number of their frame."""
    samples = np.random.default_rng(0).integers(-9000, 9000, FRAMES * SAMPLES_PER_FRAME)
    curves = np.zeros((FRAMES, 5), np.float32)
    curves[:, 0] = np.arange(FRAMES)
    return Spoken(samples.astype(np.int16), curves)


def stretch() -> Stretch:
    torch.manual_seed(1)
    return Stretch(
        clean=torch.randn(2, LENGTH, 4, 32, 32),
        speech=torch.randn(2, LENGTH + 2 * REACH, 8, 96),
        controls=torch.randn(2, LENGTH, 5),
        visemes=torch.rand(2, LENGTH, 4, 4),
        sinks=torch.randn(2, 3, 4, 32, 32),
        masks=torch.ones(2, 16),
        weight=torch.ones(2, 32, 32),
        importance=torch.ones(4, 32, 32),
        boxes=(BOX, BOX),
    )


@pytest.fixture
def task(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> SpokenTask:
    torch.manual_seed(0)
    usual = DistillTask.__new__(DistillTask)
    usual.policy, usual.weights, usual.bfloat16 = NATIVE_2_STEP, SELF_FORCING, False
    usual.student = small_dit(carries=False).requires_grad_(True)
    usual.reader = LatentReader(4).requires_grad_(False)
    monkeypatch.setattr(usual, "draw", lambda _: stretch())
    monkeypatch.setattr(
        usual, "generate", lambda drawn, _: drawn.clean * usual.student.latent_scale.mean()
    )
    return SpokenTask(usual, spoken, AudioEncoder(AudioEncoderConfig()))


def test_the_tokens_are_those_of_a_stream_and_lie_beside_their_mouths(task: SpokenTask) -> None:
    given = stretch()
    other = task.resounded(given, np.random.default_rng(3))
    wave = torch.from_numpy(task.spoken.samples.astype(np.float32) / 32767)[None]
    with torch.no_grad():
        whole = task.encoder(wave, task.encoder.init_state())[0][0]
    for row in range(2):
        first = int(other.visemes[row, 0, 0, 0])
        numbers = torch.arange(first, first + 4 * LENGTH).float()
        assert torch.equal(other.visemes[row, ..., 0].flatten(), numbers)
        begin = 2 * (first - 4 * REACH)
        expected = whole[begin : begin + 8 * (LENGTH + 2 * REACH)].unflatten(0, (-1, 8))
        assert torch.allclose(other.speech[row], expected, atol=1e-4)
    assert torch.equal(other.controls, given.controls)
    assert torch.equal(other.clean, given.clean)


def test_errors_count_everywhere_but_around_the_mouth() -> None:
    given = stretch()
    left = besides_mouths(given).weight[0]
    y, x = mouth_cells(BOX)
    assert (left[y - 1 : y + WINDOW + 1, x - 1 : x + WINDOW + 1] == 0).all()
    assert left.sum() == 32 * 32 - (WINDOW + 2) ** 2
    assert (given.weight == 1).all()


def test_every_second_step_is_to_other_speech(
    task: SpokenTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task.usual, "loss", lambda *_: (torch.zeros(()), {"usual": 1.0}))
    rng = np.random.default_rng(0)
    assert task.loss(0, rng)[1] == {"usual": 1.0}
    loss, figures = task.loss(1, rng)
    assert set(figures) == {"spoken_sync", "besides_off"}
    assert loss.item() == pytest.approx(6 * figures["spoken_sync"] + figures["besides_off"])
