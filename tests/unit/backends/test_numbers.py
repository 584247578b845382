"""Half precision and 8 bits: which layers, and what they cost."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from avatar.backends.numbers import (
    FP8,
    Float8Linear,
    check_fp8,
    half_where_it_counts,
    in_8_bits,
    is_for_8_bits,
    scaled_to_8_bits,
)
from avatar.errors import Unavailable
from avatar.models.weights import place_into

pytestmark = pytest.mark.unit


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(1024, 1040)
        self.small = nn.Linear(1024, 64)
        self.uneven = nn.Linear(1032, 1032)
        self.norm, self.layer_norm = nn.RMSNorm(8), nn.LayerNorm(8)
        self.table = nn.Parameter(torch.zeros(1, 6, 8))


def test_products_are_halved_and_tables_are_not() -> None:
    numbers = half_where_it_counts(Layers(), torch.bfloat16)
    halved = {name for name, _ in Layers().named_parameters() if numbers(name) == torch.bfloat16}
    assert halved == {
        "large.weight", "large.bias", "small.weight", "small.bias", "uneven.weight",
        "uneven.bias", "norm.weight",
    }  # fmt: skip


def test_large_layers_alone_become_8_bits() -> None:
    model = Layers()
    large = in_8_bits("blocks.0.large", model.large)
    assert isinstance(large, Float8Linear)
    assert large.weight.dtype == FP8
    assert in_8_bits("blocks.0.small", model.small) is model.small
    assert in_8_bits("large", model.large) is model.large  # of no block


def test_each_row_uses_all_of_the_8_bits() -> None:
    rows = torch.tensor([[1e-4, -2e-4], [300.0, 900.0], [0.0, 0.0]])
    scaled, scale = scaled_to_8_bits(rows)
    assert scaled.float().abs().amax(1).tolist() == [448.0, 448.0, 0.0]
    assert torch.allclose(scaled.float() * scale, rows, rtol=0.07)


def test_8_bits_cost_a_few_percent_and_nothing_else() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(1024, 1040).requires_grad_(False)
    x = torch.randn(2, 3, 1024) * torch.tensor([0.01, 1.0, 100.0])[None, :, None]
    exact, cheap = linear(x), Float8Linear(linear)(x)
    assert cheap.shape == exact.shape
    for token in range(3):  # a loud token does not drown a quiet one
        error = (cheap[:, token].float() - exact[:, token]).norm() / exact[:, token].norm()
        assert 0.001 < error < 0.06


def test_8_bits_without_such_a_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="LINEARS=native"):
        check_fp8(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(Unavailable, match=r"needs compute capability 8\.9 .* has 8\.0"):
        check_fp8(torch.device("cuda:0"))


def test_layers_become_8_bits_while_they_are_read(tmp_path: Path) -> None:
    """No more than one of them is whole at a time, and the result is that of converting after."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Layers() for _ in range(2))
            self.large = nn.Linear(1024, 1024)  # of no block

    torch.manual_seed(0)
    after = Net().requires_grad_(False)
    path = tmp_path / "net.safetensors"
    save_file(after.state_dict(), path)
    with torch.device("meta"):
        model = Net()
    whole: list[int] = []

    def finish(place: str, module: nn.Module) -> nn.Module:
        made = [each for each in model.blocks.modules() if is_for_8_bits(each)]
        whole.append(sum(not each.weight.is_meta for each in made))
        return in_8_bits(place, module)

    model = place_into(model, path, torch.device("cpu"), lambda _: torch.float32, finish)
    assert max(whole) == 1
    for name, module in list(after.named_modules()):
        if name:
            after.set_submodule(name, in_8_bits(name, module))
    assert sum(isinstance(each, Float8Linear) for each in after.modules()) == 2
    expected = after.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(each, expected[name]) for name, each in model.state_dict().items())
