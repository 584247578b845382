"""Presets of what stands around a DiT: VAEs, and encoders of text, pictures and speech."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from avatar.models.checkpoints.encoder_names import (
    old_wav2vec2_name,
    taehv_name,
    wan_clip_name,
    wan_umt5_name,
    wan_vae_names,
)
from avatar.models.checkpoints.names import same_name
from avatar.models.checkpoints.preset import APACHE, MIT, Layout, Preset
from avatar.models.clip_vision import VIT_H_14, CLIPVision, CLIPVisionConfig
from avatar.models.taehv import TAEHV, TAEW_2_1
from avatar.models.umt5 import UMT5, UMT5_XXL
from avatar.models.vae_wan import WAN_2_1, WanVAE
from avatar.models.wav2vec2 import BASE, LARGE, Wav2Vec2, Wav2Vec2Config

Value = TypeVar("Value")

_WAN = "https://huggingface.co/Wan-AI/Wan2.1-I2V-14B-480P"


def _always(value: Value) -> Callable[[Any], Value]:
    """Of every configuration."""
    return lambda _: value


def _says(kinds: tuple[str, ...], words: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    """A reader of `config.json` files of these kinds, by their words for our fields."""

    def geometry(config: Any, public: Mapping[str, Any]) -> Any:
        if not {public.get("model_type"), public.get("_class_name")} & set(kinds):
            return config  # of another network in the same folder
        known = {ours: public[word] for word, ours in words.items() if word in public}
        lists = {name: tuple(each) for name, each in known.items() if isinstance(each, list)}
        return replace(config, **{**known, **lists})

    return geometry


def _clip_geometry(config: CLIPVisionConfig, public: Mapping[str, Any]) -> CLIPVisionConfig:
    """The file holds one layer more than is used."""
    words = {
        "hidden_size": "dim", "intermediate_size": "ffn_dim", "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads", "image_size": "image_size", "patch_size": "patch",
    }  # fmt: skip
    said: CLIPVisionConfig = _says(("clip_vision_model",), words)(config, public)
    return said if said is config else replace(said, num_layers=said.num_layers - 1)


def _wav2vec2_geometry(config: Wav2Vec2Config, public: Mapping[str, Any]) -> Wav2Vec2Config:
    words = {
        "hidden_size": "dim", "intermediate_size": "ffn_dim", "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads", "do_stable_layer_norm": "stable",
        "conv_kernel": "conv_kernels", "conv_stride": "conv_strides",
        "num_conv_pos_embeddings": "position_kernel",
        "num_conv_pos_embedding_groups": "position_groups",
    }  # fmt: skip
    said: Wav2Vec2Config = _says(("wav2vec2",), words)(config, public)
    widths = public.get("conv_dim")
    return said if said is config or not widths else replace(said, conv_dim=widths[0])


def _wav2vec2(name: str, config: Wav2Vec2Config, where: str, licence: tuple[str, str]) -> Preset:
    # heads, quantizers and what masks its own training
    unused = ("lm_head.*", "quantizer.*", "project_.*", "masked_spec_embed", "dropout.*")
    layouts = tuple(
        Layout(kind, _always(rename), ("wav2vec2.",), _always(unused))
        for kind, rename in (("original", same_name), ("older torch", old_wav2vec2_name))
    )
    return Preset(
        name, "wav2vec2", lambda: config, Wav2Vec2, layouts, *licence, where,
        geometry=_wav2vec2_geometry,
    )  # fmt: skip


ENCODERS = (
    Preset(
        "wan2.1-vae",
        "vae",
        lambda: WAN_2_1,
        WanVAE,
        (
            Layout("original", lambda config: wan_vae_names(config.num_res_blocks)),
            Layout("diffusers", _always(same_name)),
        ),
        *APACHE,
        f"{_WAN} (Wan2.1_VAE.pth)",
        geometry=_says(
            ("AutoencoderKLWan",),
            {
                "base_dim": "base_dim", "z_dim": "latent_channels", "dim_mult": "dim_mult",
                "num_res_blocks": "num_res_blocks", "temperal_downsample": "halves_time",
                "latents_mean": "latents_mean", "latents_std": "latents_std",
            },
        ),
    ),
    Preset(
        "taew2.1",
        "tiny_vae",
        lambda: TAEW_2_1,
        TAEHV,
        (Layout("original", _always(taehv_name), ignored=_always((r"encoder\..*",))),),
        *MIT,
        "https://github.com/madebyollin/taehv (taew2_1.pth)",
        geometry=_says(
            ("TAEHV",), {"latent_channels": "latent_channels", "dims": "dims",
                         "grows_time": "grows_time"},
        ),
    ),
    Preset(
        "umt5-xxl",
        "umt5",
        lambda: UMT5_XXL,
        UMT5,
        (
            Layout("original", _always(wan_umt5_name)),
            # the second name of the table of words
            Layout("transformers", _always(same_name),
                   ignored=_always((r"encoder\.embed_tokens\.weight",))),
        ),
        *APACHE,
        f"{_WAN} (models_t5_umt5-xxl-enc-bf16.pth)",
        geometry=_says(
            ("umt5",),
            {
                "d_model": "dim", "d_ff": "ffn_dim", "num_layers": "num_layers",
                "num_heads": "num_heads", "d_kv": "head_dim", "vocab_size": "vocabulary",
                "relative_attention_num_buckets": "num_buckets",
                "relative_attention_max_distance": "max_distance", "max_tokens": "max_tokens",
            },
        ),
    ),
    Preset(
        "clip-vit-h-14",
        "clip_vision",
        lambda: VIT_H_14,
        CLIPVision,
        (
            Layout("original", _always(wan_clip_name), ignored=lambda config: (
                r"textual\..*", "log_scale", r"visual\.(post_norm\..*|head.*)",
                rf"visual\.transformer\.{config.num_layers}\..*",
            )),
            Layout("transformers", _always(same_name), ("vision_model.",), lambda config: (
                r"(text_model|visual_projection|text_projection|post_layernorm)\..*",
                "logit_scale", r"embeddings\.position_ids",
                rf"encoder\.layers\.{config.num_layers}\..*",
            )),
        ),
        *MIT,
        f"{_WAN} (models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth)",
        geometry=_clip_geometry,
    ),
    _wav2vec2(
        "wav2vec2-base",
        BASE,
        "https://huggingface.co/TencentGameMate/chinese-wav2vec2-base",
        MIT,
    ),
    _wav2vec2(
        "wav2vec2-large-xlsr",
        LARGE,
        "https://huggingface.co/jonatasgrosman/wav2vec2-large-xlsr-53-english",
        APACHE,
    ),
)  # fmt: skip
