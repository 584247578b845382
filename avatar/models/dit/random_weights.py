"""Weights drawn at random, in place and on the device: training from nothing, and benchmarks."""

import torch
from torch import nn

from avatar.models.dit.model import DiT

SILENT = ("audio_v_proj",)
"""Layers that begin at zero, so that the model is at first the one without them."""


@torch.no_grad()
def draw_weights(model: DiT, only: str = "") -> DiT:
    """Draw every parameter whose name holds `only`; works on shards and on what `to_empty` left.

    Linear layers get variance 1 / inputs, norms one, biases zero.
    """
    for name, parameter in model.named_parameters():
        if only not in name:
            continue
        if any(part in name for part in SILENT) or name.endswith("bias"):
            parameter.zero_()
        elif name.endswith("scale_shift_table"):
            parameter.normal_(std=model.config.dim**-0.5)
        elif parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.fill_(1.0)
    if not only and (model.config.scales_latents or not model.latent_scale.is_meta):
        model.latent_scale.fill_(1.0)
    return model


def empty_model(model: nn.Module, device: torch.device) -> None:
    """From the meta device to `device`, without a copy on the host; buffers of one are one again.

    `to_empty` empties buffers too, and those that no file holds would stay so.
    """
    model.to_empty(device=device)
    for module in model.modules():
        if isinstance(module, DiT):
            module.latent_scale.fill_(1.0)
