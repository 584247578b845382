"""Sharded checkpoints: every process writes its part, any number of processes reads it again.

The files are torch.distributed.checkpoint's own. What leaves training is safetensors: `export`.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from torch.distributed.tensor import DTensor

from avatar.errors import CorruptFile
from avatar.models.dit import DiTConfig
from training import parallel

PREFIX, PARTIAL = "step-", ".partial"
KEPT = 2
"""Checkpoints of a run that stay: the newest, and one before it."""


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
) -> Path:
    """All processes call it; the folder appears under its name when it is whole."""
    path = folder / f"{PREFIX}{step:08d}"
    partial = path.with_name(path.name + PARTIAL)
    if parallel.rank() == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    parallel.wait_for_all()
    _quietly(save_shards, _state(model, optimizer, average, step), checkpoint_id=partial)
    parallel.wait_for_all()
    if parallel.rank() == 0:
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
        for old in finished(folder)[:-KEPT]:
            shutil.rmtree(old)
    parallel.wait_for_all()
    return path


def load(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
) -> int:
    """Restore the newest checkpoint in place; the number of steps done, 0 where there is none.

    Raises:
        CorruptFile: It was written for another model or cannot be read.
    """
    paths = finished(folder)
    if not paths:
        return 0
    state = _state(model, optimizer, average, 0)
    try:
        _quietly(load_shards, state, checkpoint_id=paths[-1])
    except (CheckpointException, RuntimeError, ValueError, OSError) as error:
        raise CorruptFile(
            f"{paths[-1]} is no checkpoint of this run ({str(error).strip().splitlines()[0]}); "
            "remove it to go on from the one before, or name another --run"
        ) from error
    set_model_state_dict(model, state["model"])
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    return int(state["step"])


def finished(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = folder.glob(f"{PREFIX}*")
    return sorted(path for path in found if not path.name.endswith(PARTIAL))


def export(
    tensors: Mapping[str, Tensor], config: DiTConfig, path: Path, dtype: torch.dtype
) -> None:
    """Write one safetensors file as `avatar.models.weights` reads it; all processes call it.

    Gathered tensor by tensor: only the first process ever holds more than one, on the CPU.
    """
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if parallel.rank() == 0:
            whole[name] = full.detach().to("cpu", dtype).contiguous().clone()
    if parallel.rank() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(whole, partial, metadata={"config": json.dumps(asdict(config))})
        partial.replace(path)
    parallel.wait_for_all()


def _state(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: Mapping[str, Tensor], step: int
) -> dict[str, Any]:
    return {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state_dict(model, optimizer),
        "average": dict(average),
        "step": step,
    }


def _quietly(call: Any, *given: Any, **named: Any) -> None:
    with warnings.catch_warnings():
        # torch tells of one process without a group, and of its own old interfaces
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        call(*given, **named)
