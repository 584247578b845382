"""`python -m training.toy_checkpoint`: random weights of toy size in the files of the real ones.

What follows is what follows a download: `python -m avatar convert`, then a call. The picture is
coloured noise that moves; nothing here was trained.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

from avatar.models.checkpoints import Preset, preset_of
from avatar.models.checkpoints.pieces import Piece
from avatar.models.clip_vision import CLIPVisionConfig
from avatar.models.clip_vision import toy as toy_clip
from avatar.models.dit import CONFIGS, AudioConfig, DiTConfig, S2VConfig
from avatar.models.taehv import TAEHVConfig
from avatar.models.taehv import toy as toy_taehv
from avatar.models.umt5 import UMT5Config
from avatar.models.umt5 import toy as toy_umt5
from avatar.models.vae_wan import WanVAEConfig
from avatar.models.vae_wan import toy as toy_vae
from avatar.models.wav2vec2 import Wav2Vec2Config, toy_base, toy_large

TEXT_DIM, IMAGE_DIM = 32, 32
TOKENIZER = Path("google") / "umt5-xxl" / "tokenizer.json"
"""Where Wan's folders have it."""
WORDS = ("A", "person", "talks", "to", "the", "camera", ".", "looks", "at")


@dataclass(frozen=True)
class File:
    """One public download: `config` of the toy, and where and how its maker would put it.

    `wrap` is the key under which a pickle holds its weights, `prefix` what each name begins with.
    """

    preset: str
    config: Any
    path: str
    layout: str = "original"
    prefix: str = ""
    wrap: str = ""


@dataclass(frozen=True)
class Toy:
    """All files of one model, and the picture that is affordable on a CPU."""

    files: tuple[File, ...]
    policy: str
    height: int
    width: int


def _small(
    name: str, *, s2v: S2VConfig | None = None, audio: AudioConfig | None = None
) -> DiTConfig:
    full = CONFIGS[name]()
    return replace(
        full,
        dim=96,
        ffn_dim=192,
        num_layers=4,
        num_heads=2,
        frequency_dim=32,
        text_dim=TEXT_DIM,
        image_dim=None if full.image_dim is None else IMAGE_DIM,
        s2v=s2v,
        audio=audio,
    )


def _around(speech: Wav2Vec2Config, speech_preset: str) -> tuple[File, ...]:
    umt5 = replace(toy_umt5(), dim=TEXT_DIM)
    return (
        File("wan2.1-vae", toy_vae(), "vae/Wan2.1_VAE.pth"),
        File("taew2.1", toy_taehv(), "taehv/taew2_1.pth"),
        File(speech_preset, speech, "wav2vec2/pytorch_model.bin", prefix="wav2vec2."),
        File("umt5-xxl", umt5, "google/umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth"),
    )


def realvideo() -> Toy:
    """zai-org/RealVideo: a pickle of one dict in another, the names with `model.` before them."""
    speech = toy_large()
    s2v = S2VConfig(speech.dim, speech.num_layers + 1, inject_layers=(0, 2))
    config = _small("wan2.2-s2v-14b", s2v=s2v)
    dit = File("realvideo", config, "dit/model.pt", prefix="model.", wrap="generator")
    return Toy((dit, *_around(speech, "wav2vec2-large-xlsr")), "realvideo-2step", 96, 64)


def tm() -> Toy:
    """The paper's model before its training: Wan2.1 I2V in shards, to which audio is added."""
    speech = toy_base()
    audio = AudioConfig(speech.num_layers * speech.dim, 4, 5, 48, 4, 32)
    config = _small("tm-18b", audio=audio)
    clip = File(
        "clip-vit-h-14", replace(toy_clip(), dim=IMAGE_DIM), "clip/models_clip_vit-huge-14.pth"
    )
    dit = File("tm-18b", config, "dit/diffusion_pytorch_model")
    return Toy((dit, clip, *_around(speech, "wav2vec2-base")), "native", 64, 64)


TOYS = {"realvideo": realvideo, "tm-18b": tm}


def write_toy(name: str, folder: Path, seed: int = 0) -> Toy:
    """Write all files of a toy below `folder`, with a `config.json` beside each."""
    toy = TOYS[name]()
    for number, file in enumerate(toy.files):
        preset = preset_of(file.preset)
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = public_tensors(preset, file, random_weights(preset, file.config, (seed, number)))
        if path.suffix:
            held: Any = {file.wrap: tensors} if file.wrap else tensors
            torch.save(held, path)
        else:
            write_shards(path, tensors)
        (path.parent / "config.json").write_text(json.dumps(public_config(file.config)) + "\n")
    write_tokenizer(folder / TOKENIZER)
    return toy


def random_weights(preset: Preset, config: Any, seed: tuple[int, int]) -> dict[str, Tensor]:
    """Under our names; such that what goes through keeps its size, and every branch counts."""
    model: nn.Module = preset.build(config)
    generator = torch.Generator().manual_seed(1000 * seed[0] + seed[1])
    tensors = {}
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 1 and name.endswith(("weight", "gamma")):
            tensors[name] = 1 + 0.1 * noise
        elif tensor.ndim > 1 and name.endswith(("weight", "original1")):
            tensors[name] = noise * tensor[0].numel() ** -0.5
        elif name.endswith("original0"):
            tensors[name] = noise.abs() + 0.5
        else:
            tensors[name] = 0.05 * noise
    return tensors


def public_tensors(preset: Preset, file: File, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of the public file, whose tensors may be several of ours.

    Without those that a preset adds to what is public.
    """
    layout = next(each for each in preset.layouts if each.name == file.layout)
    rename = layout.names(file.config)
    pieces: dict[str, dict[str, Tensor]] = {}
    for name, tensor in ours.items():
        if preset.added is None or preset.added not in name:
            piece = Piece.of(rename(name))
            pieces.setdefault(file.prefix + piece.name, {})[piece.how] = tensor
    return {name: _whole(parts) for name, parts in pieces.items()}


def _whole(parts: dict[str, Tensor]) -> Tensor:
    if any("/" in how for how in parts):
        return torch.cat([parts[how] for how in sorted(parts)])
    [(how, tensor)] = parts.items()
    if how == "last":  # the public layer makes more frames than are needed here
        return torch.cat([torch.zeros_like(tensor), tensor])
    return tensor.contiguous()


def write_shards(path: Path, tensors: Mapping[str, Tensor], count: int = 2) -> None:
    """Safetensors in `count` files, and the index that lists them."""
    names, where = sorted(tensors), {}
    for shard in range(count):
        file = f"{path.name}-{shard + 1:05}-of-{count:05}.safetensors"
        held = {name: tensors[name] for name in names[shard::count]}
        save_file(held, path.parent / file)
        where.update(dict.fromkeys(held, file))
    index = {"metadata": {}, "weight_map": where}
    path.with_name(f"{path.name}.safetensors.index.json").write_text(json.dumps(index))


def write_tokenizer(path: Path) -> None:
    """Words of a sentence or two; everything else is one unknown word."""
    words = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(path))


def public_config(config: Any) -> dict[str, Any]:
    """`config.json` in the words of whoever publishes such weights."""
    if isinstance(config, DiTConfig):
        return _dit_config(config)
    if isinstance(config, WanVAEConfig):
        return {
            "_class_name": "AutoencoderKLWan",
            "base_dim": config.base_dim,
            "z_dim": config.latent_channels,
            "num_res_blocks": config.num_res_blocks,
        }
    if isinstance(config, TAEHVConfig):
        return {"_class_name": "TAEHV", "dims": config.dims, "grows_time": config.grows_time}
    if isinstance(config, Wav2Vec2Config):
        return {
            "model_type": "wav2vec2",
            "hidden_size": config.dim,
            "intermediate_size": config.ffn_dim,
            "num_hidden_layers": config.num_layers,
            "num_attention_heads": config.num_heads,
            "do_stable_layer_norm": config.stable,
            "conv_dim": [config.conv_dim] * len(config.conv_kernels),
            "num_conv_pos_embeddings": config.position_kernel,
            "num_conv_pos_embedding_groups": config.position_groups,
        }
    if isinstance(config, UMT5Config):
        return {
            "model_type": "umt5",
            "d_model": config.dim,
            "d_ff": config.ffn_dim,
            "num_layers": config.num_layers,
            "num_heads": config.num_heads,
            "d_kv": config.head_dim,
            "vocab_size": config.vocabulary,
        }
    assert isinstance(config, CLIPVisionConfig)
    return {
        "model_type": "clip_vision_model",
        "hidden_size": config.dim,
        "intermediate_size": config.ffn_dim,
        "num_hidden_layers": config.num_layers + 1,
        "num_attention_heads": config.num_heads,
        "image_size": config.image_size,
        "patch_size": config.patch,
    }


def _dit_config(config: DiTConfig) -> dict[str, Any]:
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
    if config.s2v is not None:
        said["audio_dim"] = config.s2v.audio_dim
        said["audio_inject_layers"] = list(config.s2v.inject_layers)
        said["s2v"] = {"audio_layers": config.s2v.audio_layers}  # in our words: Wan has none
    if config.audio is not None:  # likewise
        said["audio"] = {
            "dim": config.audio.dim,
            "hidden_dim": config.audio.hidden_dim,
            "context_tokens": config.audio.context_tokens,
            "context_dim": config.audio.context_dim,
        }
    return said


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.toy_checkpoint", description=__doc__)
    parser.add_argument("--preset", choices=sorted(TOYS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    toy = write_toy(args.preset, args.out, args.seed)
    for file in toy.files:
        print(f"{args.out / file.path}: preset {file.preset}")
    print(f"policy {toy.policy}, picture {toy.width} x {toy.height}")


if __name__ == "__main__":
    main()
