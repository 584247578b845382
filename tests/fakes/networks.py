"""Small random networks whose every branch is visible in the output."""

import torch

from avatar.models.dit import AudioConfig, DiT, DiTConfig
from avatar.sampling.rollout import Portrait


def small_dit(
    *, text: bool = False, image: bool = False, audio: bool = True, carries: bool = True
) -> DiT:
    """Weights wide enough that a key in the wrong place, or a wrong mask, cannot hide."""
    torch.manual_seed(0)
    model = DiT(
        DiTConfig(
            latent_channels=4,
            # the portrait and, for the widest policy, the latent before
            condition_channels=8 if carries else 4,
            dim=48,
            ffn_dim=64,
            num_layers=3,
            num_heads=2,
            patch=2,
            audio=AudioConfig(6, 2, hidden_dim=16, context_tokens=3, context_dim=12)
            if audio
            else None,
            text_dim=10 if text else None,
            image_dim=14 if image else None,
            num_controls=5,
            grid=(4, 4),
            prediction="x0",
            residual=True,
        )
    )
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.2 / parameter.flatten(1).shape[1] ** 0.5)
        elif "norm_q" in name or "norm_k" in name:
            # large norms make attention sharp: RoPE and cache mistakes show
            torch.nn.init.uniform_(parameter, 1.0, 2.0)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.latent_scale.uniform_(0.5, 1.5)
    return model.eval().requires_grad_(False)


def small_portrait(seed: int = 0) -> Portrait:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(1, 16)
    mask[:, 4:10] = 1
    return Portrait(torch.randn(1, 3, 4, 8, 8, generator=generator), mask)
