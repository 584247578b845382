"""What a process of a sharded training does in tests, and toy clips for it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from avatar.models.dit import DiT
from training.data.footage.clip import ClipInfo
from training.data.footage.shards import write_shards
from training.data.footage.speakers import Kind
from training.recipes.tm_18b import LargeRecipe, Stage, toy
from training.scale.clips import ShardedClips
from training.scale.load import fill
from training.scale.tasks import Batches

KINDS: tuple[Kind, ...] = ("speaking", "speaking", "speaking", "listening", "off_sync")


def in_processes(count: int, work: Callable[..., None], folder: Path, *given: Any) -> None:
    """Run `work(rank, folder, *given)` in so many processes that form a gloo group."""
    mp.start_processes(_begin, (count, work, folder, *given), count, start_method="spawn")  # type: ignore[attr-defined, no-untyped-call]  # torch


def _begin(rank: int, count: int, work: Callable[..., None], folder: Path, *given: Any) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store-{work.__name__}-{count}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
    work(rank, folder, *given)
    dist.destroy_process_group()


def write_toy_clips(folder: Path, recipe: LargeRecipe | None = None) -> Path:
    """Five clips of noise, shaped as the recipe's model reads them."""
    recipe = recipe or toy()
    model, (height, width) = recipe.model, recipe.latent_size
    assert model.audio is not None
    g = torch.Generator().manual_seed(3)
    clips = []
    for number, kind in enumerate(KINDS):
        name = f"clip-{number}"
        box = (80, 130, 176, 210)
        info = ClipInfo(
            name, "a.mp4", 0.0, 3.24, kind, 0, 0.8, 0, 0, (1.0, 2.0, 200.0), box, "CC0", False
        )
        tokens = model.audio.tokens_per_latent
        mask = torch.zeros(recipe.tokens_per_latent)
        mask[4:10] = 1
        tensors = {
            "latents": torch.randn(21, model.latent_channels, height, width, generator=g),
            "sink": torch.randn(3, model.latent_channels, height, width, generator=g),
            "speech": torch.randn(20 * tokens + 1, model.audio.dim, generator=g),
            "face_mask": mask,
            "text": torch.randn(recipe.text_tokens, model.text_dim or 1, generator=g),
            "image": torch.randn(recipe.image_tokens, model.image_dim or 1, generator=g),
            "image_channels": torch.randn(21, model.condition_channels, height, width, generator=g),
        }
        path = folder / f"{name}.safetensors"
        save_file(tensors, path)
        clips.append((info, path))
    write_shards(folder / "shards", clips, {"weights": "toy"}, shard_bytes=150_000)
    return folder / "shards"


def telling_weights(path: Path) -> Path:
    """Weights of the toy recipe's model that make every branch visible, the audio ones too."""
    torch.manual_seed(0)
    model = DiT(toy().model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.2 / parameter[0].numel() ** 0.5)
        elif "norm_q" in name or "norm_k" in name:
            torch.nn.init.uniform_(parameter, 1.0, 2.0)
    save_file({k: v.detach().contiguous() for k, v in model.state_dict().items()}, path)
    return path


def loaded(model: DiT, path: Path) -> DiT:
    fill(model, path)
    return model


def batches(shards: Path, stage: Stage, batch_size: int = 1) -> Batches:
    recipe = toy()
    clips = ShardedClips(shards, recipe.model, stage.mix, torch.device("cpu"))
    return Batches(clips, batch_size, stage.num_chunks, recipe.policy)


def short(stage: Stage, steps: int) -> Stage:
    return replace(stage, schedule=replace(stage.schedule, steps=steps))


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    """All processes call it."""
    return {
        name: whole(each.grad).detach().clone()
        for name, each in model.named_parameters()
        if each.grad is not None
    }


def note(path: Path, tensors: dict[str, Tensor], **values: float) -> None:
    """What one process saw, for the test to read."""
    save_file(
        {name: each.detach().contiguous() for name, each in tensors.items()},
        path,
        metadata={"values": json.dumps(values)},
    )
