"""What stands around a DiT gives the numbers of Wan's own code, from its weights."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avatar.models import clip_vision, umt5, vae_wan
from avatar.models.checkpoints import preset_of
from avatar.models.checkpoints.convert import pieces_of, shapes_of
from tests.fakes.tiny_wan import make_visible
from tests.fakes.upstream import upstream

pytestmark = [
    pytest.mark.parity,
    pytest.mark.usefixtures("one_thread"),
    # how the public code calls torch is not ours to mend
    pytest.mark.filterwarnings("ignore"),
]


def assert_key_map(name: str, theirs: nn.Module, prefix: str = "") -> None:
    """At full size: total, every shape the same, and what is left over is what is ignored."""
    preset = preset_of(name)
    config, layout = preset.config(), preset.layouts[0]
    shapes = shapes_of(preset, config)
    pieces = pieces_of(shapes, layout, config)
    public = {prefix + key: tuple(each.shape) for key, each in theirs.state_dict().items()}
    for ours, piece in pieces.items():
        assert piece.fits(public[piece.name], shapes[ours]), ours
    left = public.keys() - {piece.name for piece in pieces.values()}
    ignored = layout.ignored(config)

    assert all(any(re.fullmatch(each, key) for each in ignored) for key in left), sorted(left)[:9]


def give(name: str, config: Any, ours: nn.Module, theirs: nn.Module, prefix: str = "") -> None:
    """Ours gets theirs' numbers as the converter would take them."""
    preset = preset_of(name)
    shapes = shapes_of(preset, config)
    public = {prefix + key: each for key, each in theirs.state_dict().items()}
    pieces = pieces_of(shapes, preset.layouts[0], config)
    ours.load_state_dict(
        {key: piece.take(public[piece.name], shapes[key]) for key, piece in pieces.items()}
    )


def wan_vae(dim: int, num_res_blocks: int) -> nn.Module:
    model: nn.Module = upstream("wan.modules.vae2_1").WanVAE_(
        dim=dim,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=num_res_blocks,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        dropout=0.0,
    )
    return model.eval().requires_grad_(False)


def test_at_full_size_wans_vae_has_the_tensors_of_our_key_map() -> None:
    with torch.device("meta"):
        theirs = wan_vae(96, 2)
    assert_key_map("wan2.1-vae", theirs)


@torch.no_grad()
@pytest.mark.parametrize("chunks", [(5,), (1, 2, 2), (2, 3)])
def test_the_vae_decodes_as_wans(chunks: tuple[int, ...]) -> None:
    config = vae_wan.toy()
    theirs: Any = wan_vae(config.base_dim, config.num_res_blocks)
    make_visible(theirs)
    ours = vae_wan.WanVAE(config).eval()
    give("wan2.1-vae", config, ours, theirs)
    latents = torch.randn(1, 5, 16, 4, 6, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (config.latents_mean, config.latents_std))
    raw = (latents * std + mean).transpose(1, 2)  # theirs divides by 1 / std: it rounds otherwise
    whole: Tensor = theirs.decode(raw, [0.0, 1.0]).clamp(-1, 1).transpose(1, 2)
    parts, state = [], ours.init_decoder()
    for part in latents.split(list(chunks), 1):
        frames, state = ours.decode(part, state)
        parts.append(frames)
    assert whole.std() > 0.1
    assert (torch.cat(parts, 1).clamp(-1, 1) - whole).abs().max() <= 1e-6


@torch.no_grad()
def test_the_vae_encodes_as_wans() -> None:
    config = vae_wan.toy()
    theirs: Any = wan_vae(config.base_dim, config.num_res_blocks)
    make_visible(theirs)
    ours = vae_wan.WanVAE(config).eval()
    give("wan2.1-vae", config, ours, theirs)
    frames = torch.rand(1, 9, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    scale = [torch.tensor(config.latents_mean), 1 / torch.tensor(config.latents_std)]
    whole: Tensor = theirs.encode(frames.transpose(1, 2), scale).transpose(1, 2)
    latents, _ = ours.encode(frames, ours.init_encoder())
    assert whole.std() > 0.1
    assert (latents - whole).abs().max() <= 1e-6


def wan_umt5(config: umt5.UMT5Config) -> nn.Module:
    model: nn.Module = upstream("wan.modules.t5").umt5_xxl(
        encoder_only=True,
        vocab_size=config.vocabulary,
        dim=config.dim,
        dim_attn=config.num_heads * config.head_dim,
        dim_ffn=config.ffn_dim,
        num_heads=config.num_heads,
        encoder_layers=config.num_layers,
        num_buckets=config.num_buckets,
        device="meta" if config == umt5.UMT5_XXL else "cpu",
    )
    return model.eval().requires_grad_(False)


def test_at_full_size_wans_umt5_has_the_tensors_of_our_key_map() -> None:
    assert_key_map("umt5-xxl", wan_umt5(umt5.UMT5_XXL))


@torch.no_grad()
def test_prompts_are_embedded_as_by_wans_umt5() -> None:
    config = umt5.toy()
    theirs: Any = wan_umt5(config)
    make_visible(theirs)
    ours = umt5.UMT5(config).eval()
    give("umt5-xxl", config, ours, theirs)
    tokens = torch.tensor([[5, 9, 60, 33, 1]])
    padded = torch.cat([tokens, torch.zeros(1, 4, dtype=torch.long)], 1)
    whole = theirs(padded, (padded > 0).long())[0, :5]
    assert whole.std() > 0.1
    assert (ours(tokens) - whole).abs().max() <= 1e-5


def wan_clip(config: clip_vision.CLIPVisionConfig) -> nn.Module:
    model: nn.Module = upstream("wan.modules.animate.clip").VisionTransformer(
        image_size=config.image_size,
        patch_size=config.patch,
        dim=config.dim,
        mlp_ratio=config.ffn_dim // config.dim,
        out_dim=16,
        num_heads=config.num_heads,
        num_layers=config.num_layers + 1,
        pool_type="token",
        activation="gelu",
    )
    return model.eval().requires_grad_(False)


def test_at_full_size_wans_clip_has_the_tensors_of_our_key_map() -> None:
    with torch.device("meta"):
        theirs = wan_clip(clip_vision.VIT_H_14)
    assert_key_map("clip-vit-h-14", theirs, "visual.")


@torch.no_grad()
def test_pictures_are_seen_as_by_wans_clip() -> None:
    config = replace(clip_vision.toy(), image_size=28)
    theirs: Any = wan_clip(config)
    make_visible(theirs)
    ours = clip_vision.CLIPVision(config).eval()
    give("clip-vit-h-14", config, ours, theirs, "visual.")
    picture = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean, std = (
        torch.tensor(each)[:, None, None]
        for each in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    whole = theirs((picture / 2 + 0.5 - mean) / std, use_31_block=True)
    assert whole.std() > 0.1
    assert (ours(picture) - whole).abs().max() <= 1e-5
