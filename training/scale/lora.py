"""Low-rank adapters (LoRA, arXiv:2106.09685): few trained numbers beside weights that stay."""

from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.errors import InvalidInput

Model = TypeVar("Model", bound=nn.Module)
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
"""Attention and feed-forward of every block, as the public LoRA of this family has them."""


class LoraLinear(nn.Linear):
    """W x + scale B A x; `weight` keeps its name, so a base model's weights still fit.

    B starts at zero: a model that has just got adapters is the model it was.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        device = base.weight.device
        self.scale = scale
        self.lora_A = nn.Linear(base.in_features, rank, bias=False, device=device)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False, device=device)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        low: Tensor = self.lora_B(self.lora_A(x.to(self.lora_A.weight.dtype)))
        whole = F.linear(x, self.weight, self.bias)
        return whole + self.scale * low.to(whole.dtype)


def add_lora(model: Model, rank: int, alpha: float, targets: tuple[str, ...] = TARGETS) -> Model:
    """Freeze `model` and give its target layers adapters, in place.

    Raises:
        InvalidInput: The rank is none, or no layer has such a name.
    """
    if rank < 1:
        raise InvalidInput(f"lora rank is {rank}, at least 1 expected")
    model.requires_grad_(False)
    chosen = [name for name, _ in _linears(model) if name.endswith(targets)]
    if not chosen:
        raise InvalidInput(f"no linear layer ends in one of {', '.join(targets)}")
    for name in chosen:
        parent, _, last = name.rpartition(".")
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear)
        setattr(model.get_submodule(parent), last, LoraLinear(base, rank, alpha / rank))
    return model


def reset_adapters(model: nn.Module) -> None:
    """Begin: A normal with variance 1 / in_features, B zero. For models made on the meta device."""
    for layer in adapters(model):
        nn.init.normal_(layer.lora_A.weight, std=layer.in_features**-0.5)
        nn.init.zeros_(layer.lora_B.weight)


@torch.no_grad()
def merge_lora(model: Model) -> Model:
    """Add each adapter to its weight, W + scale B A in float32, and take it away, in place."""
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, LoraLinear):
            continue
        product = layer.lora_B.weight.float() @ layer.lora_A.weight.float()
        merged = (layer.weight.float() + layer.scale * product).to(layer.weight.dtype)
        parent, _, last = name.rpartition(".")
        plain = nn.Linear(
            layer.in_features, layer.out_features, layer.bias is not None, device="meta"
        )
        plain.weight, plain.bias = nn.Parameter(merged), layer.bias
        setattr(model.get_submodule(parent), last, plain)
    return model


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters alone, named `<layer>.lora_A.weight` and `<layer>.lora_B.weight`."""
    return {name: each for name, each in model.state_dict().items() if ".lora_" in name}


def adapters(model: nn.Module) -> Iterator[LoraLinear]:
    return (each for each in model.modules() if isinstance(each, LoraLinear))


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            yield name, module
