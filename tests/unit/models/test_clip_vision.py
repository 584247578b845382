"""CLIP's view of a portrait."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from avatar.models.clip_vision import VIT_H_14, CLIPVision, toy
from tests.fakes.weights import stir

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def clip() -> CLIPVision:
    clip = CLIPVision(toy()).eval().requires_grad_(False)
    stir(clip)
    return clip


def stock(clip: CLIPVision) -> Any:
    """Their own, with one more layer: the last, which Wan leaves out."""
    import transformers

    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
        image_size=28, patch_size=14, hidden_act="gelu",
    )  # fmt: skip
    model = transformers.CLIPVisionModel(config).eval().requires_grad_(False)
    stir(model, seed=1)
    missing, unexpected = model.load_state_dict(clip.state_dict(), strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} == {"encoder", "post_layernorm"}
    assert all(name.startswith(("encoder.layers.2.", "post_layernorm.")) for name in missing)
    return model


def test_the_tokens_are_what_goes_into_the_last_layer(clip: CLIPVision) -> None:
    pictures = torch.rand(2, 3, 28, 28) * 2 - 1
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    theirs = stock(clip)(((pictures + 1) / 2 - mean) / std, output_hidden_states=True)
    tokens = clip(pictures)
    assert tokens.shape == (2, toy().num_tokens, 32) == (2, 5, 32)
    assert torch.allclose(tokens, theirs.hidden_states[-2], atol=1e-5)
    assert not torch.allclose(tokens, theirs.hidden_states[-1], atol=1e-2)


def test_a_picture_of_any_size_is_squeezed_as_upstream_does(clip: CLIPVision) -> None:
    picture = torch.rand(1, 3, 40, 60) * 2 - 1
    small = F.interpolate(picture, (28, 28), mode="bicubic", align_corners=False)
    assert torch.equal(clip(picture), clip(small))


def test_the_public_encoder_has_its_size() -> None:
    with torch.device("meta"):
        full = CLIPVision(VIT_H_14)
    assert VIT_H_14.num_tokens == 257
    # 32 layers and a norm after them are 630,766,080
    assert sum(each.numel() for each in full.parameters()) == 630_766_080 - 19_677_440 - 2_560
