"""A model spread over processes: FSDP2 block by block, and blocks computed again when needed."""

import functools

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.utils.checkpoint import checkpoint

from avatar.errors import InvalidInput
from avatar.models.dit import DiT
from avatar.parallel.sequence import WHOLE, Split, Ulysses
from training import parallel


def mesh_of_all() -> DeviceMesh:
    """One dimension over all processes that torchrun or Ray started."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return init_device_mesh(device, (parallel.count(),), mesh_dim_names=("shard",))


def split_of(together: int) -> Split:
    """Among `together` neighbouring processes; all processes call it.

    Raises:
        InvalidInput: The processes cannot be divided so.
    """
    if together == 1:
        return WHOLE
    if together < 1 or parallel.count() % together:
        raise InvalidInput(
            f"{parallel.count()} processes do not divide into groups of {together}, which are to "
            "share a batch: start a multiple of it"
        )
    shape = parallel.count() // together, together
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Ulysses(
        init_device_mesh(device, shape, mesh_dim_names=("data", "sequence")).get_group("sequence")
    )


def shard(model: DiT, mesh: DeviceMesh, compute: torch.dtype | None = None) -> DiT:
    """Each process keeps its part of every parameter; a block is whole only while it computes.

    Args:
        model: In place; on the meta device nothing is ever whole, see `training.scale.load`.
        mesh: Of one dimension.
        compute: What parameters are cast to when they are gathered; gradients are summed in
            float32 all the same. None: their own type.
    """
    precision = MixedPrecisionPolicy(
        param_dtype=compute, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in model.layers:
        fully_shard(block, mesh=mesh, mp_policy=precision)
    if model.config.audio is not None:  # a billion parameters at the paper's size
        fully_shard(model.audio_projection, mesh=mesh, mp_policy=precision)
    # parted again after every forward, those without a backward pass (a critic's, a rollout's) too
    fully_shard(model, mesh=mesh, mp_policy=precision, reshard_after_forward=True)
    register_fsdp_forward_method(model, "project_audio")
    return model


def recompute_blocks(model: DiT) -> DiT:
    """Activation checkpointing: of a block only its input is kept for the backward pass."""
    for block in model.layers:
        # the method of this block alone; FSDP's hooks are around it
        again = functools.partial(checkpoint, block.forward, use_reentrant=False)
        block.forward = again  # type: ignore[method-assign]  # takes and gives the same
    return model


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [each for each in model.parameters() if each.requires_grad]
