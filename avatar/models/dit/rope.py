"""Rotary position embedding in time, height and width, at any given positions."""

import math

import torch
from torch import Tensor


def rope_angles(
    positions: Tensor, grid: tuple[int, int], head_dim: int, theta: float = 10_000.0
) -> Tensor:
    """Angles of every token of the given latent frames, (F * h * w, head_dim / 2) float32.

    `positions` is (F,): the place in time of each latent frame, whatever its index. Head dim 128
    splits into 44 / 42 / 42 for time, height, width as in Wan.
    """
    h, w = grid
    F = positions.shape[0]
    device = positions.device
    axes = (
        positions.double()[:, None, None].expand(F, h, w),
        torch.arange(h, device=device).double()[None, :, None].expand(F, h, w),
        torch.arange(w, device=device).double()[None, None, :].expand(F, h, w),
    )
    return _angles(axes, head_dim, theta)


def place_angles(places: Tensor, head_dim: int, theta: float = 10_000.0) -> Tensor:
    """Angles of tokens on no common grid: `places` is (L, 3), each one's time, height, width."""
    return _angles(places.double().unbind(1), head_dim, theta)


def _angles(axes: tuple[Tensor, ...], head_dim: int, theta: float) -> Tensor:
    side = 2 * (head_dim // 6)
    splits = (head_dim - 2 * side, side, side)
    device = axes[0].device
    parts = []
    for axis, size in zip(axes, splits, strict=True):
        # float64 until it is within one turn: float32 angles are off by degrees far out
        powers = torch.arange(0, size, 2, device=device).double() / size
        parts.append(axis.reshape(-1, 1) * theta**-powers)
    return torch.remainder(torch.cat(parts, dim=1), 2 * math.pi).float()


def turns_of(angles: Tensor) -> Tensor:
    """Angles (L, D / 2) -> their cosines and sines (L, 2, D / 2), once for all layers."""
    return torch.stack([angles.cos(), angles.sin()], 1)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate feature pairs (2i, 2i + 1) of x, (B, L, H, D), by `turns_of` their angles."""
    cos, sin = turns[:, None, 0], turns[:, None, 1]
    if torch.compiler.is_exporting():
        return _rotate_by_product(x, cos, sin)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).type_as(x)


def _rotate_by_product(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The same numbers: OpenVINO interleaves slowly, and a product with 0 and 1 is exact."""
    each = torch.eye(x.shape[-1] // 2, device=x.device, dtype=x.dtype)
    quarter_turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], device=x.device, dtype=x.dtype)
    swapped = x @ torch.kron(each, quarter_turn)
    return x * cos.repeat_interleave(2, -1) + swapped * sin.repeat_interleave(2, -1)
