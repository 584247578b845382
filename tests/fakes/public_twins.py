"""Ours beside a public implementation: the same weights, the same clip."""

from typing import Any

import torch
from torch import Tensor, nn

from avatar.models.checkpoints.names import key_map, wan_name
from avatar.models.dit import Condition, DiT, DiTConfig, SelfContext
from tests.fakes.tiny_wan import copy_weights, make_visible
from tests.fakes.upstream import upstream

FRAMES, TEXT_LENGTH, HEIGHT, WIDTH = 5, 12, 16, 24
TOLERANCE = 1e-4


class Case:
    """Random inputs of one clip, and our model with an upstream model's numbers."""

    def __init__(self, config: DiTConfig, theirs: nn.Module) -> None:
        self.theirs: Any = theirs.eval().requires_grad_(False)
        make_visible(self.theirs)
        self.ours = DiT(config).eval().requires_grad_(False)
        names = key_map(self.ours.state_dict(), wan_name)
        copy_weights(self.ours, self.theirs.state_dict(), names)
        self.generator = torch.Generator().manual_seed(1)
        self.noisy = self.draw(1, 16, FRAMES, HEIGHT, WIDTH)
        self.text = self.draw(1, TEXT_LENGTH, config.text_dim or 0)
        self.timestep = torch.tensor([750.0])

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def clip(
        self,
        channels: Tensor | None = None,
        image: Tensor | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        latents = frames_first(self.noisy)
        given = latents[:, :, :0] if channels is None else frames_first(channels)
        fixed = self.ours.project_fixed(self.text, image)
        condition = Condition(given, audio=heard, fixed=fixed)
        made, _ = self.ours(latents, self.timestep, condition, SelfContext(), tuple(range(FRAMES)))
        return frames_first(made)


def frames_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def wan_arguments(config: DiTConfig) -> dict[str, Any]:
    return {
        "in_dim": config.latent_channels + config.condition_channels,
        "out_dim": config.latent_channels,
        "dim": config.dim,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.frequency_dim,
        "text_dim": config.text_dim,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
    }


def diffsynth_arguments(config: DiTConfig) -> dict[str, Any]:
    return {**wan_arguments(config), "eps": config.eps, "patch_size": (1, 2, 2)}


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.abs().mean() > 0.1
    assert (ours - theirs).abs().max() <= TOLERANCE


def diffsynth_i2v(config: DiTConfig) -> nn.Module:
    """Its image-to-video network, able to go forward by itself.

    Its forward expects tokens and their grid, which its patchify has stopped to answer with.
    """
    module = upstream("diffsynth.models.wan_video_dit")
    model: Any = module.WanModel(**diffsynth_arguments(config), has_image_input=True)
    model.patchify = lambda x: tokens_and_grid(model.patch_embedding(x))
    return model


def tokens_and_grid(x: Tensor) -> tuple[Tensor, torch.Size]:
    return x.flatten(2).transpose(1, 2), x.shape[2:]


def assert_key_map(ours: nn.Module, theirs: nn.Module) -> None:
    """Total and injective, and every shape the same."""
    names = key_map(ours.state_dict(), wan_name)
    public = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert set(names.values()) == public.keys()
    for name, tensor in ours.state_dict().items():
        assert tensor.shape == public[names[name]], name
