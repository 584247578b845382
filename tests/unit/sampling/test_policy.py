"""What a policy says, and what it refuses."""

import dataclasses

import pytest
import torch

from avatar.sampling.policy import NATIVE_2_STEP, Policy
from avatar.sampling.rollout import Portrait, audio_mask

pytestmark = pytest.mark.unit

PORTRAIT = Portrait(torch.zeros(1, 3, 2, 4, 4), torch.tensor([[0.0, 1.0, 1.0, 0.0]]))


def test_sound_acts_on_the_face_unless_the_policy_says_more() -> None:
    assert NATIVE_2_STEP.audio_scope == "face"
    assert torch.equal(audio_mask(PORTRAIT, NATIVE_2_STEP), PORTRAIT.face_mask)


def test_sound_may_act_on_the_whole_picture() -> None:
    whole = dataclasses.replace(NATIVE_2_STEP, audio_scope="whole")
    mask = audio_mask(PORTRAIT, whole)
    assert mask.shape == PORTRAIT.face_mask.shape
    assert (mask == 1).all()


def test_what_sound_adds_is_multiplied_by_the_gain() -> None:
    louder = dataclasses.replace(NATIVE_2_STEP, audio_gain=1.5)
    assert torch.equal(audio_mask(PORTRAIT, louder), 1.5 * PORTRAIT.face_mask)


def test_noise_levels_must_fall_from_one() -> None:
    with pytest.raises(ValueError, match="must fall"):
        Policy(sigmas=(0.5, 1.0))


def test_there_is_a_place_for_every_latent_of_a_chunk_or_the_previous_one_is_not_seen() -> None:
    alone = dataclasses.replace(NATIVE_2_STEP, previous_positions=())
    assert alone.current_positions == (18, 19, 20)
    with pytest.raises(ValueError, match="previous_positions needs 3 places"):
        dataclasses.replace(NATIVE_2_STEP, previous_positions=(16, 17))
    with pytest.raises(ValueError, match="current_positions needs 3 places"):
        dataclasses.replace(NATIVE_2_STEP, current_positions=())


def test_a_clean_pass_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody reads"):
        dataclasses.replace(NATIVE_2_STEP, previous_positions=(), cache="clean_pass")
