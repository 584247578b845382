"""What processes that share every chunk compute in tests; module-level, so that they find it."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from avatar.models.dit import DiT
from avatar.parallel.sequence import Split, Ulysses
from avatar.sampling.policy import NATIVE_2_STEP
from avatar.sampling.rollout import RolloutState, denoise_chunk, drop_anchor
from tests.fakes.networks import small_dit, small_portrait
from tests.fakes.scale import loaded, note, whole_gradients
from tests.fakes.scale_work import WAYS, drawn, way_loss
from training.recipes.tm_18b import toy
from training.scale.load import sharded_model
from training.scale.shard import mesh_of_all, split_of

CHUNKS = 4


def rolled(split: Split | None = None) -> tuple[dict[str, Tensor], int]:
    """Chunks of a small model through its caches, and how many numbers those hold."""
    model = small_dit(carries=False)
    if split is not None:
        model.split_tokens(split)
    g = torch.Generator().manual_seed(2)
    made, state = {}, RolloutState()
    with torch.no_grad():
        anchor = drop_anchor(model, small_portrait(), NATIVE_2_STEP)
        for seq in range(CHUNKS):
            speech, controls = (
                torch.randn(1, 7, 2, 6, generator=g),
                torch.randn(1, 3, 5, generator=g),
            )
            made[f"chunk-{seq}"], state = denoise_chunk(
                model, anchor, speech, controls, state, NATIVE_2_STEP, seed=1, epoch=0, seq=seq
            )
    return made, sum(kv.key.numel() for step in state.previous for kv in step)


def shared(rank: int, folder: Path, shards: Path, weights: Path) -> None:
    """A rollout, and the loss and gradients of a batch, by processes that share all of it."""
    assert dist.group.WORLD is not None
    made, cached = rolled(Ulysses(dist.group.WORLD))
    if rank == 1:  # each of them has the whole chunk
        note(folder / "rolled.safetensors", made, cached=cached)
    mesh, split = mesh_of_all(), split_of(dist.get_world_size())
    for way in WAYS:
        model: DiT = loaded(sharded_model(toy().model, mesh), weights)
        model.split_tokens(split)
        loss = way_loss(way, model, *drawn(shards))
        loss.backward()
        found = whole_gradients(model)
        if rank == 0:
            note(folder / f"shared-{way}.safetensors", found, loss=float(loss))
