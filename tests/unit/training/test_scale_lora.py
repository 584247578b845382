"""Adapters: nothing at first, the same once they are part of the weights."""

import pytest
import torch
from torch import nn

from avatar.errors import InvalidInput
from avatar.models.dit import Condition, DiT, SelfContext
from tests.fakes.networks import small_dit
from training.scale.lora import LoraLinear, adapter_state, adapters, add_lora, merge_lora

pytestmark = pytest.mark.unit


def predict(model: DiT) -> torch.Tensor:
    g = torch.Generator().manual_seed(7)
    given = Condition(
        channels=torch.randn(1, 3, 8, 8, 8, generator=g),
        audio=model.project_audio(torch.randn(1, 7, 2, 6, generator=g)),
        face_mask=torch.ones(1, 16),
        controls=torch.randn(1, 3, 5, generator=g),
    )
    latents = torch.randn(1, 3, 4, 8, 8, generator=g)
    return model(latents, torch.tensor([500.0]), given, SelfContext(), (18, 19, 20))[0]


def adapted(seed: int = 1) -> DiT:
    """With adapters that have learned something."""
    model = small_dit()
    add_lora(model, rank=4, alpha=2.0)
    torch.manual_seed(seed)
    for layer in adapters(model):
        nn.init.normal_(layer.lora_B.weight, std=0.3)
    return model


def test_a_model_that_has_just_got_adapters_is_the_model_it_was() -> None:
    model = small_dit()
    with torch.no_grad():  # with gradients attention takes another way, and rounds otherwise
        before = predict(model)
        assert torch.equal(predict(add_lora(model, 4, 2.0)), before)


def test_merged_weights_equal_the_adapter() -> None:
    model = adapted()
    before, plain = predict(model), predict(small_dit())
    merge_lora(model)
    assert not list(adapters(model))
    assert (predict(model) - before).abs().max() <= 1e-5
    assert (before - plain).abs().max() > 0.1


def test_an_adapter_counts_alpha_over_rank() -> None:
    layer = adapted().layers[0].ffn.net[2]
    assert isinstance(layer, LoraLinear)
    x = torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(3))
    low = x @ layer.lora_A.weight.T @ layer.lora_B.weight.T
    expected = x @ layer.weight.T + layer.bias + 2.0 / 4 * low
    assert (layer(x) - expected).abs().max() <= 1e-5
    assert low.abs().max() > 0.1


def test_a_merged_model_has_the_names_of_the_base() -> None:
    assert merge_lora(adapted()).state_dict().keys() == small_dit().state_dict().keys()


def test_a_base_models_weights_fit_below_the_adapters() -> None:
    model = adapted()
    missing, unexpected = model.load_state_dict(small_dit().state_dict(), strict=False)
    assert not unexpected
    assert set(missing) == set(adapter_state(model))


def test_only_the_adapters_learn() -> None:
    model = adapted()
    predict(model).square().mean().backward()
    moved = {name for name, each in model.named_parameters() if each.grad is not None}
    assert moved == set(adapter_state(model))


def test_attention_and_feed_forward_of_every_block_have_one() -> None:
    model = adapted()
    per_block = [
        name for name, layer in model.layers[1].named_modules() if isinstance(layer, LoraLinear)
    ]
    assert sorted(per_block) == [
        "attn1.to_k", "attn1.to_out.0", "attn1.to_q", "attn1.to_v",
        "attn2.to_out.0", "attn2.to_q", "ffn.net.0.proj", "ffn.net.2",
    ]  # fmt: skip


def test_what_cannot_be_adapted_is_named() -> None:
    with pytest.raises(InvalidInput, match="rank is 0"):
        add_lora(small_dit(), 0, 1.0)
    with pytest.raises(InvalidInput, match="no_such_layer"):
        add_lora(small_dit(), 4, 1.0, targets=("no_such_layer",))
