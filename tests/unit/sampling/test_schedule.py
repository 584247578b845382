"""Noise levels and the noise itself."""

import pytest
import torch

from avatar.models.dit import linear_estimate
from avatar.sampling.policy import NATIVE_2_STEP, Policy
from avatar.sampling.schedule import add_noise, chunk_noise, predicted_clean, shifted_sigmas

pytestmark = pytest.mark.unit


def test_shifted_sigmas_fall_from_one_to_zero() -> None:
    sigmas = shifted_sigmas(4, 5.0)
    assert sigmas[0] == 1.0
    assert sigmas[-1] == 0.0
    assert list(sigmas) == sorted(sigmas, reverse=True)
    assert sigmas[1] == pytest.approx(5 * 0.75 / (1 + 4 * 0.75))
    with pytest.raises(ValueError, match="num_steps is 0"):
        shifted_sigmas(0, 1.0)


def test_noise_depends_on_its_key_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    one = chunk_noise((3, 4), 7, 0, 5, 1)
    torch.manual_seed(2)
    assert torch.equal(one, chunk_noise((3, 4), 7, 0, 5, 1))
    for key in ((8, 0, 5, 1), (7, 1, 5, 1), (7, 0, 6, 1), (7, 0, 5, 0)):
        assert not torch.equal(one, chunk_noise((3, 4), *key))


def test_noise_is_standard_normal() -> None:
    noise = torch.stack([chunk_noise((1000,), 1, 0, seq, 0) for seq in range(50)])
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1) < 0.02


def test_velocity_and_x0_lead_to_the_same_clean() -> None:
    clean, noise = torch.randn(5), torch.randn(5)
    noisy = add_noise(clean, noise, 0.3)
    assert torch.allclose(predicted_clean(noise - clean, noisy, 0.3, "velocity"), clean, atol=1e-6)
    assert torch.equal(predicted_clean(clean, noisy, 0.3, "x0"), clean)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.5, 0.9])
def test_the_error_of_the_best_linear_estimate_tells_nothing_more(sigma: float) -> None:
    clean, noise = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0)).unbind()
    noisy = add_noise(clean, noise, sigma)
    error = clean - linear_estimate(sigma) * noisy
    assert abs((error * noisy).mean().item()) < 0.01


def test_pure_noise_does_not_reach_the_model() -> None:
    assert linear_estimate(1.0) == 0.0
    assert linear_estimate(0.0) == 1.0


def test_the_native_policy_is_two_forwards_at_the_papers_slots() -> None:
    assert len(NATIVE_2_STEP.sigmas) == 2
    assert NATIVE_2_STEP.sink_positions == (0, 1, 2)
    assert NATIVE_2_STEP.previous_positions == (15, 16, 17)
    assert NATIVE_2_STEP.current_positions == (18, 19, 20)


@pytest.mark.parametrize("sigmas", [(), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_noise_levels_that_make_no_sense_are_refused(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"must fall from 1\.0"):
        Policy(sigmas=sigmas)
