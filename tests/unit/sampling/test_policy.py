"""What a policy says, and what it refuses."""

import dataclasses

import pytest
import torch

from avatar.sampling.policy import (
    LIVEAVATAR_4_STEP,
    NATIVE_2_STEP,
    REALVIDEO_2_STEP,
    REALVIDEO_4_STEP,
    Absolute,
    Policy,
)
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


def test_a_light_chunk_has_fewer_levels_where_the_weights_are_for_fewer() -> None:
    assert NATIVE_2_STEP.light.sigmas == (1.0,)
    assert REALVIDEO_4_STEP.light == REALVIDEO_2_STEP
    for whole in (REALVIDEO_2_STEP, LIVEAVATAR_4_STEP, NATIVE_2_STEP.light):
        assert whole.light is whole
    with pytest.raises(ValueError, match="are no fewer than"):
        dataclasses.replace(NATIVE_2_STEP, light_sigmas=(1.0, 0.5))
    with pytest.raises(ValueError, match=r"light_sigmas .* must fall"):
        dataclasses.replace(NATIVE_2_STEP, light_sigmas=(0.5,))


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


def test_the_public_checkpoints_are_denoised_at_their_own_timesteps() -> None:
    timesteps = {
        name: [1000 * sigma for sigma in policy.sigmas]
        for name, policy in (
            ("2", REALVIDEO_2_STEP), ("4", REALVIDEO_4_STEP), ("live", LIVEAVATAR_4_STEP),
        )
    }  # fmt: skip
    assert timesteps["2"] == pytest.approx([1000, 750])
    assert timesteps["4"] == pytest.approx([1000, 900, 750, 500])
    assert timesteps["live"] == pytest.approx([1000, 857.69, 602.15, 8.93])


def test_a_slot_never_moves_and_an_absolute_place_grows() -> None:
    assert NATIVE_2_STEP.places(0, 3) == NATIVE_2_STEP.places(10**6, 3)
    assert REALVIDEO_2_STEP.places(0, 0).current == (1, 2)
    assert REALVIDEO_2_STEP.places(7, 2).history == (13, 14)
    assert REALVIDEO_2_STEP.places(7, 2).current == (15, 16)


def test_realvideos_sink_falls_behind_from_the_block_that_begins_after_20() -> None:
    places = [REALVIDEO_2_STEP.places(n, 2) for n in range(13)]
    assert [each.current[0] for each in places[9:11]] == [19, 21]
    assert [each.sink[0] for each in places] == [30] * 10 + [31, 32, 33]


def test_liveavatars_sink_follows_as_far_as_is_drawn() -> None:
    near, far = (LIVEAVATAR_4_STEP.places(20, 9, draw).sink[0] for draw in (0, 26))
    assert near == 30 + 60 - (30 - 4)
    assert far == 30 + 60 - (30 - 30)
    assert LIVEAVATAR_4_STEP.places(20, 9, 27).sink[0] == near  # 4 to 30, both included


def test_absolute_places_that_contradict_themselves_are_refused() -> None:
    absolute = Absolute(first=0, history_latents=2)
    with pytest.raises(ValueError, match="are empty"):
        dataclasses.replace(NATIVE_2_STEP, absolute=absolute)
    with pytest.raises(ValueError, match="a multiple of the chunk's 2"):
        dataclasses.replace(REALVIDEO_2_STEP, absolute=Absolute(1, 3))
    with pytest.raises(ValueError, match="nobody reads"):
        dataclasses.replace(REALVIDEO_2_STEP, absolute=Absolute(1, 0))
