"""In which numbers a network is kept: half precision where it computes most, and 8 bits."""

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, nn

from avatar.errors import Unavailable

HALF = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RMSNorm)
"""Modulation tables, biases of the residual and layer norms stay float32: they are few."""

FP8 = torch.float8_e4m3fn
FP8_CAPABILITY = (8, 9)
LARGEST = torch.finfo(FP8).max
MIN_FP8_FEATURES = 1024
"""Of the smaller side: smaller layers gain nothing."""


def half_where_it_counts(model: nn.Module, half: torch.dtype) -> Callable[[str], torch.dtype]:
    """For each tensor's name, `half` or float32."""
    halved = {
        f"{place}.{name}" if place else name
        for place, module in model.named_modules()
        if isinstance(module, HALF)
        for name, _ in module.named_parameters(recurse=False)
    }
    return lambda name: half if name in halved else torch.float32


class Float8Linear(nn.Module):
    """A linear layer in 8 bits: weights scaled a row, inputs a token, sums in more.

    Each is divided by a scale that brings its largest number to the largest of e4m3 (448).
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = scaled_to_8_bits(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        bias: Tensor | None = linear.bias
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        given, scale = scaled_to_8_bits(rows)
        y = torch._scaled_mm(
            given,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale.t(),
            bias=None if self.bias is None else self.bias.to(torch.bfloat16),
            out_dtype=torch.bfloat16,
        )
        return y.unflatten(0, x.shape[:-1])


def scaled_to_8_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) -> the same in 8 bits, and what each row (N, 1) was divided by, float32."""
    scale = rows.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (rows / scale).clamp(-LARGEST, LARGEST).to(FP8), scale


def check_fp8(device: torch.device) -> None:
    """Raises Unavailable where the device has no 8-bit products."""
    if device.type != "cuda":
        raise Unavailable("LINEARS=fp8 needs a GPU with 8-bit products; use LINEARS=native")
    have = torch.cuda.get_device_capability(device)
    if have < FP8_CAPABILITY:
        raise Unavailable(
            f"LINEARS=fp8 needs compute capability {'.'.join(map(str, FP8_CAPABILITY))} (Ada, "
            f"Hopper or newer), {device} has {'.'.join(map(str, have))}; use LINEARS=native"
        )


def is_for_8_bits(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is a linear layer that is large enough; the kernels want multiples of 16."""
    if not isinstance(module, nn.Linear):
        return False
    rows, columns = module.weight.shape
    return min(rows, columns) >= MIN_FP8_FEATURES and rows % 16 == columns % 16 == 0


def in_8_bits(place: str, module: nn.Module) -> nn.Module:
    """`Float8Linear` for a large linear layer of a DiT's blocks, whatever else as it is."""
    if place.startswith("blocks.") and is_for_8_bits(module):
        return Float8Linear(module)
    return module
