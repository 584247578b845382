"""The same step on several processes: each takes a batch, all take the mean of the gradients.

`torchrun --nproc-per-node 2 -m -- training.train` begins it; alone, nothing here does anything.
"""

from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from avatar.errors import AvatarError

_PATIENCE = timedelta(hours=12)
"""While the first process does alone what is not shared."""


def join() -> None:
    """Meet the processes that torchrun started, over loopback or NCCL where there is CUDA."""
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)


def alone() -> None:
    """A group of this process only, where it was started by itself."""
    if not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        store = dist.HashStore()  # type: ignore[attr-defined]  # documented, and not listed
        dist.init_process_group(backend, store=store, rank=0, world_size=1)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()


class Refused(ValueError):
    """What one process found wrong before anything began; all of them have been told."""


def agree(found: AvatarError | None) -> None:
    """All processes call it with what each found: where one did, all raise Refused."""
    said: list[str | None] = [None if found is None else str(found)]
    if count() > 1:
        said = [None] * count()
        dist.all_gather_object(said, None if found is None else str(found))
    for number, problem in enumerate(said):
        if problem is not None:
            others = [each for each in said if each != problem]
            where = f"process {number}: " if others else ""
            raise Refused(f"{where}{problem}") from found


def same_weights(model: nn.Module) -> None:
    """Everybody begins with the first process's weights."""
    if count() > 1:
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)


def average_gradients(model: nn.Module) -> None:
    """In place; a process without a gradient that another one has counts as zero."""
    if count() == 1:
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    has_one = torch.tensor([float(p.grad is not None) for p in parameters])
    dist.all_reduce(has_one)
    parameters = [p for p, have in zip(parameters, has_one.tolist(), strict=True) if have]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(joined)
    joined /= count()
    pieces = joined.split([p.numel() for p in parameters])
    for parameter, mean in zip(parameters, pieces, strict=True):
        parameter.grad = mean.view_as(parameter)


def means(figures: dict[str, float], device: torch.device) -> dict[str, float]:
    """Of what every process saw; all have seen the same names."""
    if count() == 1:
        return figures
    together = torch.tensor(list(figures.values()), device=device)
    dist.all_reduce(together)
    return dict(zip(figures, (together / count()).tolist(), strict=True))
