"""The public models' own branches: silent until they are trained, and heard in the right place."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatar.models.dit import CONFIGS, Condition, DiT, DiTConfig, S2VConfig, SelfContext
from avatar.models.dit.references import References, clip_with_references, reference_keys
from tests.fakes.tiny_wan import make_visible, tiny_wan, tiny_wan_config

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("one_thread")]

AUDIO_LAYERS = {
    "tm-18b": "wan2.1-i2v-14b",
    "infinitetalk": "wan2.1-i2v-14b",
    "wan2.2-s2v-14b": "wan2.1-t2v-14b",
}
"""A model that hears, and the base to which its layers were added."""
PLACES = (0, 1, 2)


def grown(name: str) -> tuple[DiT, DiT]:
    """A base of visible weights, and it with the audio layers as they are when just added."""
    base = tiny_wan(AUDIO_LAYERS[name])
    torch.manual_seed(1)
    model = DiT(tiny_wan_config(name)).eval().requires_grad_(False)
    missing = model.load_state_dict(base.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert missing.missing_keys
    return base, model


def speech(config: DiTConfig, generator: torch.Generator, frames: int = 3) -> Tensor:
    """Random, of the shape that `project_audio` of this model takes for `frames` latents."""
    size: tuple[int, ...]
    if config.s2v:
        size = (4 * frames + 9, config.s2v.audio_layers, config.s2v.audio_dim)
    elif config.frame_audio:
        size = (4 * frames + 4, config.frame_audio.dim)
    else:
        assert config.audio is not None
        size = (frames + 4, config.audio.tokens_per_latent, config.audio.dim)
    return torch.randn(1, *size, generator=generator)


def given(model: DiT, seed: int = 0, heard: Tensor | None = None) -> tuple[Tensor, Condition]:
    g = torch.Generator().manual_seed(seed)
    c = model.config
    latents = torch.randn(1, 3, 16, 8, 8, generator=g)
    channels = torch.randn(1, 3, c.condition_channels, 8, 8, generator=g)
    image = torch.randn(1, 5, 40, generator=g) if c.image_dim else None
    fixed = model.project_fixed(torch.randn(1, 7, 48, generator=g), image)
    return latents, Condition(channels, heard, fixed=fixed, face_mask=torch.ones(1, 16))


def predicted(model: DiT, latents: Tensor, condition: Condition) -> Tensor:
    made, _ = model(latents, torch.tensor([600.0]), condition, SelfContext(), PLACES)
    return made


@pytest.mark.parametrize("name", AUDIO_LAYERS)
def test_audio_layers_that_have_just_been_added_change_the_output_by_exactly_nothing(
    name: str,
) -> None:
    base, model = grown(name)
    heard = model.project_audio(speech(model.config, torch.Generator().manual_seed(2)))
    assert heard.std() > 1e-3  # there is something to hear
    silent = predicted(base, *given(base))
    assert torch.equal(predicted(model, *given(model, heard=heard)), silent)


@pytest.mark.parametrize("name", AUDIO_LAYERS)
def test_trained_audio_layers_are_heard(name: str) -> None:
    model = tiny_wan(name)
    one, other = (
        model.project_audio(speech(model.config, torch.Generator().manual_seed(seed)))
        for seed in (2, 3)
    )
    difference = predicted(model, *given(model, heard=one)) - predicted(
        model, *given(model, heard=other)
    )
    assert difference.abs().max() > 1e-2


def test_a_config_with_two_ways_of_hearing_is_refused() -> None:
    with pytest.raises(ValueError, match="not several"):
        replace(CONFIGS["tm-18b"](), s2v=S2VConfig())
    with pytest.raises(ValueError, match=r"inject_layers \[39\] are not among 39 layers"):
        replace(CONFIGS["wan2.2-s2v-14b"](), num_layers=39)


def test_a_clip_whose_reference_is_cached_is_not_the_clip_that_it_attends_to() -> None:
    """In the causal models the reference sees itself alone, so its keys may be computed once."""
    model = tiny_wan("wan2.2-s2v-14b")
    latents, condition = given(model)
    g = torch.Generator().manual_seed(4)
    references = References(torch.randn(1, 1, 16, 8, 8, generator=g))
    keys, places = reference_keys(model, references, condition.fixed, 30)
    assert places is None
    assert len(keys) == model.config.num_layers
    assert keys[0].key.shape == (1, 16, model.config.dim)
    whole = clip_with_references(model, latents, torch.tensor([600.0]), condition, references)
    assert whole.shape == latents.shape
    assert (whole - predicted(model, latents, condition)).abs().max() > 1e-2


def test_motion_of_another_length_is_refused() -> None:
    model = tiny_wan("wan2.2-s2v-14b")
    references = References(torch.zeros(1, 1, 16, 8, 8), torch.zeros(1, 18, 16, 8, 8))
    with pytest.raises(ValueError, match="18 motion latents given, 19 expected"):
        reference_keys(model, references, (), 30)


def test_the_nearest_past_frame_has_a_token_for_each_patch_and_older_ones_share() -> None:
    model = tiny_wan("wan2.2-s2v-14b")
    tokens, places = model.frame_packer(torch.zeros(1, 19, 16, 16, 16))
    assert tokens.shape[1] == len(places) == 64 + 16 + 4 * 4
    assert places[:64, 0].unique().tolist() == [-1]
    assert places[64:80, 0].unique().tolist() == [-3]
    assert places[80:, 0].unique().tolist() == [-19, -14, -9, -4]
    assert places[80:, 1].unique().tolist() == [0, 7]  # stretched over the whole picture


def test_wide_numbers_do_not_hide_a_branch() -> None:
    """What the comparisons stand on: the toy's every parameter changes what it makes."""
    model = tiny_wan("wan2.2-s2v-14b")
    changed = tiny_wan("wan2.2-s2v-14b")
    make_visible(changed, seed=9)
    for one, other in zip(model.parameters(), changed.parameters(), strict=True):
        assert not torch.equal(one, other)


def test_infinitetalks_attention_is_as_its_file_lays_the_numbers_out() -> None:
    """Keys come first in `kv_linear`, each latent hears its own tokens, and nothing is normed."""
    model = tiny_wan("infinitetalk")
    layer, heads = model.layers[0].audio_cross_attn, model.config.num_heads
    g = torch.Generator().manual_seed(6)
    x, audio = torch.randn(2, 3, 16, 96, generator=g), torch.randn(2, 3, 4, 16, generator=g)
    q = (x @ layer.q_linear.weight.T + layer.q_linear.bias).view(2, 3, 16, heads, 48)
    kv = audio @ layer.kv_linear.weight.T + layer.kv_linear.bias
    k, v = kv.view(2, 3, 4, 2, heads, 48).unbind(3)
    weights = torch.einsum("bfnhd,bfmhd->bfhnm", q, k).div(48**0.5).softmax(-1)
    mixed = torch.einsum("bfhnm,bfmhd->bfnhd", weights, v).flatten(3)
    expected = mixed @ layer.proj.weight.T + layer.proj.bias
    assert (layer(x, audio) - expected).abs().max() <= 1e-5


def test_infinitetalks_projection_is_two_layers_after_one_of_its_two_first() -> None:
    model = tiny_wan("infinitetalk")
    project = model.audio_proj
    speech = torch.randn(1, 9, 12, generator=torch.Generator().manual_seed(6))
    clip = project(speech, begins_clip=True)  # a frame, four frames, and two on either side
    windows = (speech[:, :5], speech[:, 1:9])
    for latent, (first, window) in enumerate(
        zip((project.proj1, project.proj1_vf), windows, strict=True)
    ):
        hidden = (window.flatten(1) @ first.weight.T + first.bias).relu()
        hidden = (hidden @ project.proj2.weight.T + project.proj2.bias).relu()
        tokens = (hidden @ project.proj3.weight.T + project.proj3.bias).view(1, 4, 16)
        centred = tokens - tokens.mean(-1, keepdim=True)
        scaled = centred / (tokens.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        expected = scaled * project.norm.weight + project.norm.bias
        assert (clip[:, latent] - expected).abs().max() <= 1e-5
