"""A sharded model from nothing but its configuration: made on the meta device, then filled."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor

from avatar.errors import CorruptFile, NotFound
from avatar.models.dit import DiT, DiTConfig
from avatar.models.dit.random_weights import draw_weights, empty_model
from training.scale.lora import add_lora, reset_adapters
from training.scale.shard import recompute_blocks, shard

NEW = ("audio",)
"""Parts that a base model need not have: they are drawn, and change nothing at first."""


def sharded_model(
    config: DiTConfig,
    mesh: DeviceMesh,
    *,
    weights: Path | None = None,
    compute: torch.dtype | None = None,
    stored: torch.dtype = torch.float32,
    lora: tuple[int, float] | None = None,
    recompute: bool = True,
    seed: int = 0,
) -> DiT:
    """No process ever holds the whole of it.

    Args:
        config: Of the model.
        mesh: Over which it is sharded.
        weights: safetensors to begin with; what is new may be missing. None: drawn at random.
        compute: Type of the gathered parameters, see `shard`.
        stored: Type of the shards.
        lora: Rank and alpha of adapters; the rest is frozen.
        recompute: Keep only the inputs of blocks.
        seed: Of what is drawn.
    """
    with torch.device("meta"):
        model = DiT(config).to(stored)
        if lora is not None:
            add_lora(model, *lora)
    if recompute:
        recompute_blocks(model)
    shard(model, mesh, compute)
    empty_model(model, torch.device(mesh.device_type))
    torch.manual_seed(seed)
    draw_weights(model)
    reset_adapters(model)
    if weights is not None:
        fill(model, weights)
    return model


@torch.no_grad()
def fill(model: nn.Module, path: Path, new: tuple[str, ...] = NEW) -> list[str]:
    """Copy a file's tensors into the shards, each process its part of each.

    Returns:
        Names that the file does not have and `new` allows to be missing.

    Raises:
        NotFound: No such file.
        CorruptFile: As `missing_in`.
    """
    owned = model.state_dict()
    missing = missing_in(path, owned, new)
    with safe_open(path, "pt") as file:
        for name, own in owned.items():
            if name not in missing:
                _copy(own, file.get_tensor(name))
    return missing


def check_base(path: Path, config: DiTConfig) -> None:
    """Raises what `fill` would, and reads names and shapes alone."""
    with torch.device("meta"):
        model = DiT(config)
    missing_in(path, model.state_dict(), NEW)


def missing_in(path: Path, owned: Mapping[str, Tensor], new: tuple[str, ...]) -> list[str]:
    """Names of `owned` that a file does not have and need not.

    Raises:
        NotFound: No such file.
        CorruptFile: Something else is missing, of another shape, or has no place in the model.
    """
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except FileNotFoundError as error:
        raise NotFound(
            f"{path} is missing: `python -m avatar convert` makes it of public weights"
        ) from error
    except SafetensorError as error:
        raise CorruptFile(f"{path} is no safetensors file: {error}") from error
    if odd := sorted(shapes.keys() - owned.keys()):
        raise CorruptFile(
            f"{path}: {len(odd)} tensors have no place in this recipe's model, {odd[0]} "
            "among them; is it another model's?"
        )
    for name, shape in shapes.items():
        if shape != tuple(owned[name].shape):
            raise CorruptFile(
                f"{path}: {name} has shape {shape}, {tuple(owned[name].shape)} expected by this "
                "recipe's model"
            )
    missing = [name for name in owned if name not in shapes]
    allowed = (*new, "lora_", "latent_scale")
    lost = [name for name in missing if not any(part in name for part in allowed)]
    if lost:
        raise CorruptFile(f"{path} lacks {len(lost)} tensors, {lost[0]} among them")
    return missing


def _copy(own: torch.Tensor, tensor: torch.Tensor) -> None:
    if isinstance(own, DTensor):
        # every process reads the file itself, so none has to send anything
        tensor = tensor.to(own.to_local().device, own.dtype)
        tensor = distribute_tensor(tensor, own.device_mesh, own.placements, src_data_rank=None)
    own.copy_(tensor)
