"""InfiniteTalk's network is the public image-to-video one, and its hearing as it is described."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatar.models.dit import CONFIGS, DiT
from tests.fakes.infinitetalk import hear, infinitetalk
from tests.fakes.public_twins import (
    FRAMES,
    HEIGHT,
    TOLERANCE,
    WIDTH,
    Case,
    assert_key_map,
    assert_same,
)
from tests.fakes.tiny_wan import tiny_wan_config

pytestmark = [
    pytest.mark.parity,
    pytest.mark.usefixtures("one_thread"),
    # how the public code calls torch is not ours to mend
    pytest.mark.filterwarnings("ignore"),
]


class Talk:
    """A clip with speech: what theirs makes of it, and ours."""

    def __init__(self) -> None:
        config = replace(tiny_wan_config("infinitetalk"), image_dim=1280)
        assert config.frame_audio is not None
        self.case = case = Case(config, infinitetalk(config))
        frames = 1 + 4 * (FRAMES - 1) + 4  # two more on either side
        self.speech = case.draw(1, frames, config.frame_audio.dim)
        self.channels, self.image = case.draw(1, 20, FRAMES, HEIGHT, WIDTH), case.draw(1, 257, 1280)

    def theirs(self) -> Tensor:
        case = self.case
        made: Tensor = case.theirs(case.noisy, case.timestep, case.text, self.image, self.channels)
        return made

    def ours(self) -> Tensor:
        heard = self.case.ours.audio_proj(self.speech, begins_clip=True)
        return self.case.clip(self.channels, self.image, heard)


@pytest.fixture(scope="module")
def expected() -> Tensor:
    talk = Talk()
    with torch.no_grad():
        deaf = talk.theirs()
        hear(talk.case.theirs, talk.speech[0], talk.case.ours.config.num_heads)
        made = talk.theirs()
    assert (made - deaf).abs().max() > 0.1  # there is something to hear
    return made


@torch.no_grad()
def test_speech_and_picture_to_video_is_infinitetalks(expected: Tensor) -> None:
    assert_same(Talk().ours(), expected)


@torch.no_grad()
@pytest.mark.parametrize("mistake", ["late", "order", "norm", "first latent"])
def test_the_comparison_sees_a_mistake(mistake: str, expected: Tensor) -> None:
    """Each misses by a hundred times the tolerance."""
    talk = Talk()
    if mistake == "late":  # by one video frame
        talk.speech = talk.speech.roll(1, 1)
    for block in talk.case.ours.layers:
        attend = block.audio_cross_attn
        if mistake == "order":  # values before keys
            attend.kv_linear.weight.copy_(torch.cat(attend.kv_linear.weight.chunk(2)[::-1]))
        elif mistake == "norm":  # without its scale
            block.norm_x.weight.fill_(1.0)
    if mistake == "first latent":  # heard as the others are
        project = talk.case.ours.audio_proj
        project.proj1.weight.copy_(project.proj1_vf.weight[:, : project.proj1.in_features])
    assert (talk.ours() - expected).abs().max() >= 100 * TOLERANCE


def test_at_full_size_the_key_map_is_of_these_tensors() -> None:
    config = CONFIGS["infinitetalk"]()
    with torch.device("meta"):
        ours, theirs = DiT(config), infinitetalk(config)
    assert len(theirs.state_dict()) == 1633
    assert_key_map(ours, theirs)
