"""What training will take on each device, counted from the recipe before anything is loaded."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from avatar.backends.memory import GIB, free_memory
from avatar.errors import InvalidInput
from avatar.models.dit import DiT
from training.recipes.tm_18b import LargeRecipe, Stage
from training.scale.lora import add_lora

RESERVE = 0.06
"""Of a device's memory: the driver's context, the allocator's gaps, buffers of the collectives."""
BLOCK_COPIES = 14
"""Tensors of a block's width that live at once while it is computed again for its gradient: normed
input, q, k, v, both roped, attended, projected and the gradients of the widest of them."""
FFN_COPIES = 3
GATHERED = 2
"""Blocks that are whole at the same time: one computes, the next one is on its way."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one device, by what they are for."""

    items: dict[str, int]
    available: int
    processes: int

    @property
    def total(self) -> int:
        return sum(self.items.values())

    @property
    def usable(self) -> int:
        return int(self.available * (1 - RESERVE))

    @property
    def fits(self) -> bool:
        return self.total <= self.usable

    def __str__(self) -> str:
        width = max(len(name) for name in self.items)
        lines = [f"  {name:{width}}  {size / GIB:8.2f} GiB" for name, size in self.items.items()]
        verdict = "fits" if self.fits else "DOES NOT FIT"
        return "\n".join(
            [
                f"memory of each of {self.processes} processes:",
                *lines,
                f"  {'sum':{width}}  {self.total / GIB:8.2f} GiB",
                f"  {'usable':{width}}  {self.usable / GIB:8.2f} GiB of "
                f"{self.available / GIB:.2f}: {verdict}",
            ]
        )

    def check(self) -> None:
        """Raises InvalidInput with the sum and the ways out where it does not fit."""
        if self.fits:
            return
        shared = sum(size for name, size in self.items.items() if name in SHARED)
        rest = self.usable - (self.total - shared)
        more = (
            f"start at least {-(-shared * self.processes // rest)} processes (more devices share "
            "parameters, gradients and moments)"
            if rest > 0
            else "more devices alone do not help: activations and gathered blocks are too large"
        )
        raise InvalidInput(
            f"{self}\n{self.total / GIB:.1f} GiB are needed on each device and "
            f"{self.usable / GIB:.1f} GiB can be used. Ways out: {more}; train adapters "
            "(--recipe tm-18b-lora); let processes share each batch (--together); fewer chunks or "
            "a smaller batch in the recipe; keep recomputation of blocks on"
        )


SHARED = ("parameters", "frozen parameters", "gradients", "optimizer's moments", "moving average")
"""What is divided among the processes."""


def plan(
    recipe: LargeRecipe,
    stage: Stage,
    processes: int,
    available: int,
    *,
    recompute: bool = True,
    together: int = 1,
) -> MemoryPlan:
    """Of one stage, counted from shapes alone; `together` processes share a batch's tokens."""
    with torch.device("meta"):
        model = DiT(recipe.model)
        if stage.trained == "lora":
            add_lora(model, *recipe.lora)
    if stage.trained == "audio":
        freeze_all_but_audio(model)
    moved = numbers(model, trained=True)
    still = numbers(model) - moved
    networks = 2 if stage.kind == "student" else 1  # with its critic
    frozen = networks * still + (moved + still if stage.kind == "student" else 0)  # the teacher
    narrow = 2 if recipe.bfloat16 else 4
    stored = 4 if stage.trained == "audio" else narrow  # one file of weights, one type
    block, audio = numbers(model.layers[0]), numbers(model.audio_projection)
    root = numbers(model) - audio - block * recipe.model.num_layers
    most = max(numbers(each, trained=True) for each in (model.layers[0], model.audio_projection))
    items = {
        "parameters": 4 * networks * moved // processes,
        "frozen parameters": stored * frozen // processes,
        "gradients": 4 * networks * moved // processes,
        "optimizer's moments": 8 * networks * moved // processes,
        "moving average": 4 * networks * moved // processes,
        "gathered blocks": narrow * (GATHERED * max(block, audio) + root),
        "gradient of a block": (narrow + 4) * most,  # as computed, and as summed
    }
    items |= {
        name: size // together
        for name, size in activations(recipe, stage, narrow, recompute).items()
    }
    return MemoryPlan(items, available, processes)


def check_sharing(recipe: LargeRecipe, processes: int, together: int) -> None:
    """Raises InvalidInput where `together` of these processes cannot share a batch."""
    if processes % together:
        raise InvalidInput(
            f"{processes} processes do not divide into groups of {together}, which are to share a "
            "batch: start a multiple of it"
        )
    heads, tokens = recipe.model.num_heads, recipe.tokens_per_latent
    most = math.gcd(heads, tokens)
    if most % together:
        ways = [str(each) for each in range(1, most + 1) if most % each == 0]
        raise InvalidInput(
            f"{heads} heads and the {tokens} tokens of a latent do not both divide by {together}: "
            f"{', '.join(ways)} processes may share a batch"
        )


def numbers(model: nn.Module, *, trained: bool = False) -> int:
    """Parameters of a model, or of them those that are trained."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad or not trained)


def activations(recipe: LargeRecipe, stage: Stage, narrow: int, recompute: bool) -> dict[str, int]:
    """Kept from the forward for the backward pass, and alive within one block at its worst."""
    c = recipe.model
    # a rollout keeps the graphs of all its chunks, and of one step of each: as many tokens
    latents = stage.batch_size * stage.num_chunks * recipe.policy.chunk_latents
    tokens = latents * recipe.tokens_per_latent
    inside = narrow * tokens * (BLOCK_COPIES * c.dim + FFN_COPIES * c.ffn_dim)
    sink = stage.batch_size * len(recipe.policy.sink_positions) * recipe.tokens_per_latent
    cached = 2 * narrow * c.dim * c.num_layers * (tokens + sink)  # handed back by the forward
    if recompute:
        return {
            "inputs of blocks": narrow * tokens * c.dim * c.num_layers,
            "keys and values": cached,
            "inside a block": inside,
        }
    return {"keys and values": cached, "inside all blocks": inside * c.num_layers}


def freeze_all_but_audio(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("audio" in name)
    return model


def memory_of_device() -> int:
    """Free bytes of this process's device, or of the host where there is none."""
    if torch.cuda.is_available():
        return free_memory(torch.device("cuda", torch.cuda.current_device()))
    return free_memory(torch.device("cpu"))
