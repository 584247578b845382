"""Checkpoints of a run as safetensors: weights, their average, and the optimizer's moments."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_checkpoint(
    path: Path,
    step: int,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write atomically: an interrupted write leaves the previous checkpoint."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors[f"m.{index}"], tensors[f"v.{index}"] = moments["exp_avg"], moments["exp_avg_sq"]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(
        {k: v.detach().clone().contiguous() for k, v in tensors.items()},
        partial,
        metadata={"step": json.dumps(step)},
    )
    partial.replace(path)


def steps_done(path: Path) -> int:
    """Of the run whose checkpoint this is; 0 where there is none."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()["step"]))


def load_checkpoint(
    path: Path,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> int:
    """Restore in place and return the number of steps done; 0 where there is no checkpoint."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        step = int(json.loads(file.metadata()["step"]))
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    model.load_state_dict({k: tensors[f"model.{k}"] for k in model.state_dict()})
    for key in ema:
        ema[key].copy_(tensors[f"ema.{key}"])
    state = optimizer.state_dict()
    state["state"] = {
        int(key[2:]): {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[key],
            "exp_avg_sq": tensors["v." + key[2:]],
        }
        for key in tensors
        if key.startswith("m.")
    }
    optimizer.load_state_dict(state)
    return step
