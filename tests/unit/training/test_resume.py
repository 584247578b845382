"""A packed checkpoint goes on where the whole one would."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from training.checkpoint import load_checkpoint, save_checkpoint
from training.resume import packed, unpacked

pytestmark = pytest.mark.unit


def test_a_packed_checkpoint_restores_weights_exactly_and_the_rest_closely(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(40, 30)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 40)).square().mean().backward()
        optimizer.step()
    ema = {k: 0.9 * v.clone() for k, v in model.state_dict().items()}
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, 3, model, ema, optimizer)
    whole = load_file(path)
    small = packed(whole)

    def size(tensors: dict[str, torch.Tensor]) -> int:
        return sum(t.numel() * t.element_size() for t in tensors.values())

    assert size(small) == size(whole) / 2
    back = unpacked(small)
    assert back.keys() == whole.keys()
    for key, value in whole.items():
        if key.startswith("model."):
            assert torch.equal(back[key], value)
        elif key.startswith("m."):
            assert back[key].abs().max() == 0
        else:
            assert torch.allclose(back[key], value, rtol=1e-2, atol=1e-4)
    other = nn.Linear(40, 30)
    again = torch.optim.AdamW(other.parameters(), 1e-2)
    from safetensors.torch import save_file

    save_file(back, path, metadata={"step": "3"})
    assert load_checkpoint(path, other, {k: v.clone() for k, v in ema.items()}, again) == 3
    assert torch.equal(other.weight, model.weight)
