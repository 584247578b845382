"""Weights drawn at random, in place and on the device: training from nothing, and benchmarks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avatar.models.dit.model import DiT

SILENT = ("audio_v_proj",)
"""Layers that begin at zero, so that the model is at first the one without them."""


@torch.no_grad()
def draw_weights(model: DiT, only: str = "") -> DiT:
    """Draw every parameter whose name holds `only`; works on shards and on what `to_empty` left.

    Linear layers get variance 1 / inputs, norms one, biases zero.
    """
    for name, parameter in model.named_parameters():
        if only in name:
            _draw(name, parameter, model.config.dim)
    if not only and (model.config.scales_latents or not model.latent_scale.is_meta):
        model.latent_scale.fill_(1.0)
    return model


@torch.no_grad()
def draw_in_place(
    model: DiT,
    device: torch.device,
    numbers: Callable[[str], torch.dtype],
    finish: Callable[[str, nn.Module], nn.Module] | None = None,
) -> DiT:
    """Weights for a model from the meta device, module by module; arguments as of `place_into`."""
    for place, module in list(model.named_modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            whole = f"{place}.{name}" if place else name
            there = torch.empty(parameter.shape, dtype=numbers(whole), device=device)
            _draw(whole, there, model.config.dim)
            setattr(module, name, nn.Parameter(there, requires_grad=False))
        if finish is not None and (finished := finish(place, module)) is not module:
            model.set_submodule(place, finished)
    model.latent_scale = torch.ones(model.latent_scale.shape, device=device)
    return model.eval()


def _draw(name: str, parameter: Tensor, dim: int) -> None:
    if any(part in name for part in SILENT) or name.endswith("bias"):
        parameter.zero_()
    elif name.endswith("scale_shift_table"):
        parameter.normal_(std=dim**-0.5)
    elif parameter.ndim > 1:
        parameter.normal_(std=parameter[0].numel() ** -0.5)
    else:
        parameter.fill_(1.0)


def empty_model(model: nn.Module, device: torch.device) -> None:
    """From the meta device to `device`, without a copy on the host; buffers of one are one again.

    `to_empty` empties buffers too, and those that no file holds would stay so.
    """
    model.to_empty(device=device)
    for module in model.modules():
        if isinstance(module, DiT):
            module.latent_scale.fill_(1.0)
