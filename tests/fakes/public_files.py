"""Toy checkpoints in the layouts of the public ones, written as their makers write them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from avatar.models.checkpoints.names import Rename
from avatar.models.checkpoints.pieces import Piece
from avatar.models.dit import DiTConfig


def public_tensors(ours: Mapping[str, Tensor], rename: Rename) -> dict[str, Tensor]:
    """What the public file holds of these weights: pieces put together again."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in ours.items():
        piece = Piece.of(rename(name))
        parts.setdefault(piece.name, {})[piece.how] = tensor
    return {name: whole(each) for name, each in parts.items()}


def whole(pieces: dict[str, Tensor]) -> Tensor:
    how, tensor = next(iter(pieces.items()))
    if how == "flat":
        return tensor[None] if tensor.ndim > 1 else tensor[None, None]
    if how == "last":
        return torch.cat([torch.full_like(tensor, 9.0), tensor])  # made for more frames
    if "/" in how:
        return torch.cat([pieces[each] for each in sorted(pieces)])
    return tensor.contiguous()


def wan_config(config: DiTConfig) -> dict[str, Any]:
    """`config.json` in Wan's words; what it leaves out of them in ours."""
    said: dict[str, Any] = {
        "_class_name": "WanModel",
        "dim": config.dim,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.frequency_dim,
        "in_dim": config.latent_channels + config.condition_channels,
        "out_dim": config.latent_channels,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "text_dim": config.text_dim,
        "image_dim": config.image_dim,
    }
    if config.audio is not None:
        said["audio"] = asdict(config.audio)
    if config.frame_audio is not None:
        said["frame_audio"] = asdict(config.frame_audio)
    if config.s2v is not None:
        said["audio_dim"] = config.s2v.audio_dim
        said["audio_inject_layers"] = list(config.s2v.inject_layers)
    return said


def write_folder(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], shards: int = 1
) -> Path:
    """Safetensors, with an index where there are several, and `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    where = {}
    for index in range(shards):
        file = f"diffusion_pytorch_model-{index + 1:05}-of-{shards:05}.safetensors"
        part = names[index::shards]
        save_file({name: tensors[name].contiguous() for name in part}, folder / file)
        where.update(dict.fromkeys(part, file))
    if shards > 1:
        index_file = folder / "diffusion_pytorch_model.safetensors.index.json"
        index_file.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text(json.dumps(dict(config)))
    return folder
