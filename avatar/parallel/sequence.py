"""Sequence parallelism: each process has some tokens of every latent frame, and some heads' keys.

Between projecting and attending tokens are exchanged for heads (Ulysses, arXiv:2309.14509), so the
caches of a process hold its heads of all tokens, and never move. All else is done token by token.
"""

from typing import Protocol

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor
from torch.autograd.function import FunctionCtx


class Split(Protocol):
    """How tokens (B, F, n, D) are divided among processes that make the same chunk together."""

    @property
    def size(self) -> int: ...

    def part(self, x: Tensor, dim: int) -> Tensor:
        """This process's share along a dimension of tokens."""
        ...

    def joined(self, x: Tensor, dim: int) -> Tensor:
        """The inverse: all shares, for everybody."""
        ...

    def to_heads(self, x: Tensor, num_frames: int) -> Tensor:
        """(B, F m, D), all heads of some tokens -> (B, F n, D / size), some heads of all."""
        ...

    def to_tokens(self, x: Tensor, num_frames: int) -> Tensor:
        """The inverse of `to_heads`."""
        ...


class Whole:
    """One process has everything."""

    size = 1

    def part(self, x: Tensor, dim: int) -> Tensor:
        return x

    def joined(self, x: Tensor, dim: int) -> Tensor:
        return x

    def to_heads(self, x: Tensor, num_frames: int) -> Tensor:
        return x

    def to_tokens(self, x: Tensor, num_frames: int) -> Tensor:
        return x


WHOLE = Whole()


class Ulysses:
    """Among the processes of a group; every process has the same chunk, and must call alike.

    Gradients are those of the sum of the losses of all processes: where each computes the same loss
    their mean is its gradient, which is what sharded training takes.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group, self.size, self.rank = group, group.size(), group.rank()

    def part(self, x: Tensor, dim: int) -> Tensor:
        return x.chunk(self.size, dim)[self.rank]

    def joined(self, x: Tensor, dim: int) -> Tensor:
        parts: tuple[Tensor, ...] = _Gather.apply(x, self.group)  # type: ignore[no-untyped-call]
        return torch.cat(parts, dim)

    def to_heads(self, x: Tensor, num_frames: int) -> Tensor:
        sent = rearrange(x, "b (f m) (p d) -> p b f m d", f=num_frames, p=self.size)
        got = _exchange(sent, self.group)
        return rearrange(got, "p b f m d -> b (f p m) d")

    def to_tokens(self, x: Tensor, num_frames: int) -> Tensor:
        sent = rearrange(x, "b (f p m) d -> p b f m d", f=num_frames, p=self.size)
        got = _exchange(sent, self.group)
        return rearrange(got, "p b f m d -> b (f m) (p d)")


def _exchange(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    y: Tensor = _Exchange.apply(x.contiguous(), group)  # type: ignore[no-untyped-call]  # torch
    return y


class _Exchange(torch.autograd.Function):
    """(P, ...): the p-th part goes to process p, and its own comes from there."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group  # type: ignore[attr-defined]  # torch's way to remember it
        got = torch.empty_like(x)
        dist.all_to_all_single(got, x, group=group)
        return got

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return _exchange(gradient, ctx.group), None  # type: ignore[attr-defined]


class _Gather(torch.autograd.Function):
    """A part from every process; its gradient is the sum over all of them."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, ...]:
        ctx.group = group  # type: ignore[attr-defined]
        parts = [torch.empty_like(x) for _ in range(group.size())]
        dist.all_gather(parts, x.contiguous(), group=group)
        return tuple(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        group: dist.ProcessGroup = ctx.group  # type: ignore[attr-defined]
        together = torch.stack(gradients)
        dist.all_reduce(together, group=group)
        return together[group.rank()], None
