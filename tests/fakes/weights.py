"""Random weights that make every branch of a small network count."""

import torch
from torch import nn


def stir(model: nn.Module, seed: int = 0) -> None:
    """Linear maps keep the size of what goes through, norms and biases are not 1 and 0.

    At its own start a network may hold branches that add nothing, and a test of them none either.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        is_norm = name.endswith(("gamma", "norm.weight")) or (
            parameter.ndim == 1 and name.endswith("weight")
        )
        with torch.no_grad():
            if is_norm:
                parameter.copy_(1 + 0.2 * noise)
            elif fan_in > 1:
                parameter.copy_(1.2 * noise / fan_in**0.5)
            else:
                parameter.copy_(0.1 * noise)
