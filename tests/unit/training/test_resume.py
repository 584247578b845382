"""A packed checkpoint goes on where the whole one would."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from training.checkpoint import load_checkpoint, save_checkpoint
from training.resume import packed, unpacked

pytestmark = pytest.mark.unit


def test_a_packed_checkpoint_goes_on_from_the_average_at_the_same_step(tmp_path: Path) -> None:
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
    small = packed(load_file(path))
    assert set(small) == {"ema.weight", "ema.bias"}
    save_file(unpacked(small), path, metadata={"step": "3"})

    other, average = nn.Linear(40, 30), {k: torch.zeros_like(v) for k, v in ema.items()}
    again = torch.optim.AdamW(other.parameters(), 1e-2)
    assert load_checkpoint(path, other, average, again) == 3
    assert torch.allclose(other.weight, ema["weight"], atol=1e-3)
    assert torch.allclose(average["weight"], ema["weight"], atol=1e-3)
    other(torch.randn(8, 40)).square().mean().backward()
    again.step()
    assert not torch.allclose(other.weight, ema["weight"], atol=1e-3)
