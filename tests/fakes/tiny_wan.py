"""Wan-class networks of a few hundred thousand parameters whose every branch shows."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from avatar.models.dit import CONFIGS, AudioConfig, DiT, DiTConfig, FrameAudioConfig, S2VConfig

AUDIO = AudioConfig(12, 4, hidden_dim=24, context_tokens=4, context_dim=16)
FRAME_AUDIO = FrameAudioConfig(12, hidden_dim=20, context_tokens=4, context_dim=16)
S2V = S2VConfig(audio_dim=20, inject_layers=(0, 2))


def tiny_wan_config(name: str) -> DiTConfig:
    """A public model's configuration with small numbers in every place."""
    full = CONFIGS[name]()
    return replace(
        full,
        dim=96,
        ffn_dim=160,
        num_layers=3,
        num_heads=2,
        text_dim=48,
        frequency_dim=32,
        image_dim=None if full.image_dim is None else 40,
        audio=full.audio and AUDIO,
        frame_audio=full.frame_audio and FRAME_AUDIO,
        s2v=full.s2v and S2V,
    )


def tiny_wan(name: str, seed: int = 0) -> DiT:
    model = DiT(tiny_wan_config(name))
    make_visible(model, seed)
    return model.eval().requires_grad_(False)


def make_visible(model: nn.Module, seed: int = 0) -> None:
    """Numbers under which a wrong place, mask or branch cannot hide.

    With norms near zero attention is uniform, and wrong positions pass unseen; what starts at
    zero would hide whole branches.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(visible(name, parameter, generator))


def visible(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(like.shape, generator=generator)
    scales = "norm" in name and name.endswith("weight") and like.ndim == 1
    if scales or name.endswith("gamma"):
        return 1 + 0.2 * drawn
    if name.endswith("weight") and like.ndim > 1 and "cond_mask" not in name:
        return drawn * 1.2 / like[0].numel() ** 0.5
    return 0.1 * drawn


def copy_weights(model: DiT, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Give `model` the numbers of a public implementation, by a map of our names to its own."""
    model.load_state_dict({ours: tensors[theirs] for ours, theirs in names.items()})
