"""Teacher, student and critic: what each sees, and where their gradients lead."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar.models.dit import CachedContext, DiT
from avatar.sampling import rollout as serving
from avatar.sampling.policy import NATIVE_2_STEP, Policy
from avatar.sampling.rollout import Portrait, RolloutState, denoise_chunk, drop_anchor
from tests.fakes.networks import small_dit
from training.tasks import distill, teacher
from training.tasks.batch import Stretch, served_levels
from training.tasks.distill import Distillation, DistillTask, rollout
from training.tasks.dit import denoise_chunks, weighted_square
from training.tasks.teacher import denoise_stretch, guided, sample

pytestmark = pytest.mark.unit

POLICY = NATIVE_2_STEP
NUM_CHUNKS = 3


@pytest.fixture(scope="module")
def model() -> DiT:
    return small_dit(carries=False)


@pytest.fixture(scope="module")
def stretch() -> Stretch:
    """Two stretches of three chunks: of 8 x 8 latents with 4 channels."""
    torch.manual_seed(1)
    masks = torch.zeros(2, 16)
    masks[:, 4:10] = 1
    return Stretch(
        clean=torch.randn(2, 9, 4, 8, 8),
        speech=torch.randn(2, 13, 2, 6),
        controls=torch.randn(2, 9, 5),
        visemes=torch.rand(2, 9, 4, 4),
        sinks=torch.randn(2, 3, 4, 8, 8),
        masks=masks,
        weight=torch.ones(2, 8, 8),
        importance=torch.ones(4, 8, 8),
        boxes=((0, 0, 64, 64), (0, 0, 64, 64)),
    )


def task(model: DiT, **weights: Any) -> DistillTask:
    """Without clips: the tests hand the stretches in."""
    made = DistillTask.__new__(DistillTask)
    made.policy, made.num_chunks, made.bfloat16 = POLICY, NUM_CHUNKS, False
    made.weights = Distillation(sync=0.0, guidance=1.0, **weights)
    made.teacher, made.student, made.critic = (small_dit(carries=False) for _ in range(3))
    made.student.requires_grad_(True)
    made.critic.requires_grad_(True)
    made.model = torch.nn.ModuleDict({"student": made.student, "critic": made.critic})
    return made


@pytest.mark.parametrize(
    "policy",
    [
        POLICY,
        replace(POLICY, noise="fresh"),
        replace(POLICY, cache="clean_pass"),
        replace(POLICY, sink_positions=()),
        replace(POLICY, previous_positions=()),
    ],
    ids=["native", "fresh noise", "clean pass", "no sink", "no previous"],
)
def test_a_rollout_in_training_is_what_serving_makes(
    model: DiT, stretch: Stretch, monkeypatch: pytest.MonkeyPatch, policy: Policy
) -> None:
    noise = torch.randn(1, 3, 4, 8, 8)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise[:, : like.shape[1]].expand_as(like))
    monkeypatch.setattr(
        "avatar.sampling.rollout.chunk_noise", lambda shape, *_: noise[:, : shape[1]]
    )
    made = rollout(model, stretch, policy, grad_step=1)
    for row in range(2):
        portrait = Portrait(stretch.sinks[row : row + 1], stretch.masks[row : row + 1])
        anchor, state = drop_anchor(model, portrait, policy), RolloutState()
        for n in range(NUM_CHUNKS):
            speech = stretch.speech[row : row + 1, 3 * n : 3 * n + 7]
            controls = stretch.controls[row : row + 1, 3 * n : 3 * n + 3]
            served, state = denoise_chunk(
                model, anchor, speech, controls, state, policy, seed=0, epoch=0, seq=n
            )
            inner = (served - portrait.reference) / model.latent_scale
            assert (inner[0] - made[row, 3 * n : 3 * n + 3]).abs().max() < 1e-4


def test_no_gradient_flows_through_the_cache(
    stretch: Stretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = small_dit(carries=False).requires_grad_(True)
    seen: list[Tensor] = []

    def context(parts: Any, positions: tuple[int, ...]) -> CachedContext:
        seen.extend(tensor for part in parts for layer in part for tensor in layer)
        return CachedContext(parts, positions)

    monkeypatch.setattr(serving, "CachedContext", context)
    made = rollout(student, stretch, POLICY, grad_step=0)
    assert made.requires_grad
    assert seen
    assert not any(tensor.requires_grad for tensor in seen)


def test_teacher_forcing_does_not_see_what_comes_after(model: DiT, stretch: Stretch) -> None:
    known, sigma = torch.ones(2, NUM_CHUNKS, dtype=torch.bool), torch.tensor([0.5, 1.0])
    noisy = torch.randn(2, 9, 4, 8, 8)
    before = denoise_chunks(model, stretch, noisy, sigma, POLICY, known)
    changed = noisy.clone()
    changed[:, 6:] += 1
    after = denoise_chunks(model, stretch, changed, sigma, POLICY, known)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_the_teacher_sees_both_ways(model: DiT, stretch: Stretch) -> None:
    sigma, hears = torch.tensor([0.5, 1.0]), torch.ones(2)
    noisy = torch.randn(2, 9, 4, 8, 8)
    before = denoise_stretch(model, stretch, noisy, sigma, POLICY, hears)
    changed = noisy.clone()
    changed[:, 8] += 1
    after = denoise_stretch(model, stretch, changed, sigma, POLICY, hears)
    assert ((before - after).abs().amax((0, 2, 3, 4)) > 1e-4).all()


def test_a_deaf_teacher_does_not_depend_on_the_speech_and_guidance_is_the_difference(
    model: DiT, stretch: Stretch
) -> None:
    sigma, noisy = torch.tensor([0.5, 1.0]), torch.randn(2, 9, 4, 8, 8)
    other = Stretch(**{**vars(stretch), "speech": torch.randn(2, 13, 2, 6)})
    deaf, hears = torch.zeros(2), torch.ones(2)
    one, two = (denoise_stretch(model, s, noisy, sigma, POLICY, deaf) for s in (stretch, other))
    assert torch.equal(one, two)
    heard = denoise_stretch(model, stretch, noisy, sigma, POLICY, hears)
    assert not torch.allclose(heard, one)
    far = guided(model, stretch, noisy, sigma, POLICY, 3.0)
    assert torch.allclose(far, one + 3 * (heard - one), atol=1e-4)


def test_sampling_ends_where_a_model_that_knows_the_answer_points(
    model: DiT, stretch: Stretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations = []

    def knows(*given: Any) -> Tensor:
        evaluations.append(given)
        return stretch.clean

    monkeypatch.setattr(teacher, "denoise_stretch", knows)
    assert torch.allclose(sample(model, stretch, POLICY), stretch.clean, atol=1e-5)
    assert len(evaluations) == 24  # 12 steps, twice each for the guidance


def test_a_critic_that_agrees_with_the_teacher_gives_no_gradient(stretch: Stretch) -> None:
    judged = task(small_dit(carries=False))
    gradient, _ = judged.matching_gradient(stretch, stretch.clean)
    assert gradient.abs().max() < 1e-5


def test_the_student_goes_from_what_the_critic_says_to_what_the_teacher_says(
    stretch: Stretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = task(small_dit(carries=False))
    says = {id(judged.teacher): -0.5, id(judged.critic): 0.5}
    monkeypatch.setattr(
        distill, "guided", lambda model, stretch, noisy, *_: noisy * 0 + says[id(model)]
    )
    gradient, size = judged.matching_gradient(stretch, stretch.clean)
    assert (gradient > 0).all()  # descent lowers what the critic finds too high
    assert size == pytest.approx(1.0)


def test_what_the_critic_learns_from_leaves_the_student_alone(stretch: Stretch) -> None:
    judged = task(small_dit(carries=False))
    loss, _ = judged.critic_loss(stretch, stretch.clean)
    loss.backward()
    assert all(p.grad is None for p in judged.student.parameters())
    assert any(p.grad is not None for p in judged.critic.parameters())
    loss, _ = judged.student_loss(stretch, np.random.default_rng(0))
    judged.critic.zero_grad()
    loss.backward()
    assert any(p.grad is not None for p in judged.student.parameters())
    assert all(p.grad is None for p in judged.critic.parameters())


def test_errors_count_by_place_and_channel(stretch: Stretch) -> None:
    heavy = Stretch(
        **{**vars(stretch), "importance": torch.tensor([3.0, 1.0, 0.0, 0.0])[:, None, None]}
    )
    error = torch.zeros(2, 9, 4, 8, 8)
    error[:, :, 0] = 1.0
    assert torch.allclose(weighted_square(error, heavy), torch.full((2,), 0.75))
    error = torch.zeros(2, 9, 4, 8, 8)
    error[:, :, 3] = 1.0
    assert weighted_square(error, heavy).max() == 0


def test_most_levels_are_those_that_serving_uses() -> None:
    drawn = served_levels(np.random.default_rng(0), POLICY.sigmas, 4000)
    served = (drawn[:, None] - torch.tensor(POLICY.sigmas)).abs().amin(1) < 1e-6
    assert 0.7 < float(served.float().mean()) < 0.8
    assert drawn.min() >= 0.05
    assert drawn.max() <= 1.0
