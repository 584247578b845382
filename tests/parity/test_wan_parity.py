"""Ours and the public implementations give the same numbers, and have the same tensors."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from avatar.models.dit import CONFIGS, Condition, DiT, DiTConfig
from avatar.models.dit.references import References, clip_with_references
from tests.fakes.public_twins import (
    FRAMES,
    HEIGHT,
    TEXT_LENGTH,
    TOLERANCE,
    WIDTH,
    Case,
    assert_key_map,
    assert_same,
    diffsynth_arguments,
    diffsynth_i2v,
    frames_first,
    wan_arguments,
)
from tests.fakes.tiny_wan import tiny_wan_config
from tests.fakes.upstream import upstream

pytestmark = [
    pytest.mark.parity,
    pytest.mark.usefixtures("one_thread"),
    # how the public code calls torch is not ours to mend
    pytest.mark.filterwarnings("ignore"),
]


def wan22_s2v(config: DiTConfig, text_length: int = 512) -> nn.Module:
    assert config.s2v is not None
    upstream("wan.modules.model")
    model: nn.Module = upstream("wan.modules.s2v.model_s2v").WanModel_S2V(
        **wan_arguments(config),
        text_len=text_length,
        cond_dim=16,
        audio_dim=config.s2v.audio_dim,
        num_audio_token=config.s2v.audio_tokens,
        enable_adain=True,
        audio_inject_layers=list(config.s2v.inject_layers),
        zero_timestep=True,
        enable_motioner=False,
        enable_framepack=True,
        framepack_drop_mode="padd",
    )
    return model


@torch.no_grad()
def test_text_to_video_is_wan22s() -> None:
    config = tiny_wan_config("wan2.1-t2v-14b")
    module = upstream("wan.modules.model")
    case = Case(config, module.WanModel(**wan_arguments(config), text_len=TEXT_LENGTH))
    length = FRAMES * HEIGHT * WIDTH // 4
    theirs = case.theirs([case.noisy[0]], case.timestep, [case.text[0]], length)
    assert_same(case.clip()[0], theirs[0])


@torch.no_grad()
def test_image_to_video_is_diffsynths() -> None:
    config = replace(tiny_wan_config("wan2.1-i2v-14b"), image_dim=1280)
    case = Case(config, diffsynth_i2v(config))
    channels, image = case.draw(1, 20, FRAMES, HEIGHT, WIDTH), case.draw(1, 257, 1280)
    theirs = case.theirs(case.noisy, case.timestep, case.text, image, channels)
    assert_same(case.clip(channels, image), theirs)


@torch.no_grad()
@pytest.mark.parametrize("motion", [True, False])
def test_speech_to_video_is_wan22s(motion: bool) -> None:
    config = tiny_wan_config("wan2.2-s2v-14b")
    case = Case(config, wan22_s2v(config, TEXT_LENGTH))
    given = s2v_inputs(case)
    theirs = case.theirs(
        [case.noisy[0]],
        case.timestep,
        [case.text[0]],
        None,
        [given["reference"][0]],
        [given["motion"][0]],
        [given["pose"][0]],
        given["speech"],
        [73, 19],
        drop_motion_frames=not motion,
    )
    assert_same(s2v_clip(case, given, motion=motion)[0], theirs[0])


@torch.no_grad()
def test_speech_to_video_is_diffsynths() -> None:
    config = tiny_wan_config("wan2.2-s2v-14b")
    assert config.s2v is not None
    module = upstream("diffsynth.models.wan_video_dit_s2v")
    theirs = module.WanS2VModel(
        **diffsynth_arguments(config),
        cond_dim=16,
        audio_dim=config.s2v.audio_dim,
        num_audio_token=config.s2v.audio_tokens,
        audio_inject_layers=list(config.s2v.inject_layers),
    )
    case = Case(config, theirs)
    given = s2v_inputs(case)
    made = case.theirs(
        torch.cat([given["reference"], case.noisy], 2),
        case.timestep,
        case.text,
        given["speech"],
        [given["motion"][0]],
        given["pose"],
    )
    # it never shows the frames of the past to the network
    assert_same(s2v_clip(case, given, motion=False), made[:, :, 1:])


@torch.no_grad()
@pytest.mark.parametrize("mistake", ["speech", "pose", "motion", "reference"])
def test_the_comparison_sees_a_mistake(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each misses by a hundred times the tolerance, so that what passes is the same network."""
    case = Case(tiny_wan_config("wan2.2-s2v-14b"), wan22_s2v(tiny_wan_config("wan2.2-s2v-14b"), 12))
    given = s2v_inputs(case)
    right = s2v_clip(case, given, motion=True)
    if mistake == "speech":  # a latent late
        given["speech"] = given["speech"].roll(4, -1)
    elif mistake == "pose":  # without even the layer's bias
        given["pose"] = torch.zeros_like(given["pose"])
        for each in case.ours.cond_encoder.parameters():
            each.zero_()
    elif mistake == "motion":  # a latent late
        given["motion"] = given["motion"].roll(1, 2)
    else:
        monkeypatch.setattr("avatar.models.dit.references.REFERENCE_POSITION", 31)
    wrong = s2v_clip(case, given, motion=True)
    assert (wrong - right).abs().max() >= 100 * TOLERANCE


def s2v_inputs(case: Case) -> dict[str, Tensor]:
    return {
        "reference": case.draw(1, 16, 1, HEIGHT, WIDTH),
        "motion": case.draw(1, 16, 19, HEIGHT, WIDTH),
        "pose": case.draw(1, 16, FRAMES, HEIGHT, WIDTH),
        "speech": case.draw(1, 25, 20, 4 * FRAMES),
    }


def s2v_clip(case: Case, given: dict[str, Tensor], *, motion: bool) -> Tensor:
    """Ours; what was heard before the clip is its first frame, as upstream has it."""
    latents = frames_first(case.noisy)
    speech = given["speech"].permute(0, 3, 1, 2)  # frames before layers
    speech = torch.cat([speech[:, :1].expand(-1, 9, -1, -1), speech], 1)
    condition = Condition(
        latents[:, :, :0],
        audio=case.ours.project_audio(speech),
        fixed=case.ours.project_fixed(case.text),
        pose=frames_first(given["pose"]),
    )
    past = frames_first(given["motion"]) if motion else None
    references = References(frames_first(given["reference"]), past)
    made = clip_with_references(case.ours, latents, case.timestep, condition, references)
    return frames_first(made)


@pytest.mark.parametrize("name", ["wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.2-s2v-14b"])
def test_at_full_size_wan22_has_the_tensors_of_our_key_map(name: str) -> None:
    config = CONFIGS[name]()
    with torch.device("meta"):
        ours = DiT(config)
        theirs = (
            wan22_s2v(config)
            if config.s2v
            else upstream("wan.modules.model").WanModel(**wan_arguments(config))
        )
    assert_key_map(ours, theirs)


def test_at_full_size_diffsynth_has_the_tensors_of_our_key_map() -> None:
    config = CONFIGS["wan2.1-i2v-14b"]()
    with torch.device("meta"):
        ours, theirs = DiT(config), diffsynth_i2v(config)
    assert_key_map(ours, theirs)
