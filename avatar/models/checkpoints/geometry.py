"""Reads a DiT's geometry from the `config.json` that public checkpoints carry."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from avatar.errors import CorruptFile
from avatar.models.dit import DiTConfig
from avatar.models.dit.config import AudioConfig, FrameAudioConfig, S2VConfig

Part = TypeVar("Part", S2VConfig, FrameAudioConfig, AudioConfig)

_WAN = {
    "dim": "dim", "ffn_dim": "ffn_dim", "num_layers": "num_layers", "num_heads": "num_heads",
    "freq_dim": "frequency_dim", "text_dim": "text_dim", "image_dim": "image_dim", "eps": "eps",
    "out_dim": "latent_channels",
}  # fmt: skip
"""Wan's own words for fields of `DiTConfig`."""
_DIFFUSERS = {"num_attention_heads": "num_heads", "out_channels": "latent_channels"}
_S2V = {
    "audio_dim": "audio_dim", "num_audio_token": "audio_tokens", "cond_dim": "condition_channels",
    "audio_inject_layers": "inject_layers",
}  # fmt: skip
_FRAME_AUDIO = {
    "audio_window": "window_frames", "intermediate_dim": "hidden_dim", "output_dim": "context_dim",
    "context_tokens": "context_tokens", "vae_scale": "frames_per_latent",
}  # fmt: skip


def dit_geometry(config: DiTConfig, public: Mapping[str, Any]) -> DiTConfig:
    """`config` with what `public` says otherwise; `audio`, `frame_audio`, `s2v` are ours.

    Raises:
        CorruptFile: It makes no network.
    """
    try:
        changed = replace(config, **_fields(config, public))
    except (TypeError, ValueError) as error:
        raise CorruptFile(f"config.json is of no network of this kind: {error}") from error
    return changed


def _fields(config: DiTConfig, public: Mapping[str, Any]) -> dict[str, Any]:
    fields = _known(public, {**_DIFFUSERS, **_WAN})
    if config.image_dim is None:  # diffusers writes it, empty, for text to video too
        fields.pop("image_dim", None)
    if "attention_head_dim" in public and "num_heads" in fields:
        fields["dim"] = public["attention_head_dim"] * fields["num_heads"]
    given = public.get("in_dim", public.get("in_channels"))
    if given is not None:
        fields["condition_channels"] = given - fields.get("latent_channels", config.latent_channels)
    if config.s2v is not None:
        fields["s2v"] = _part(config.s2v, public, "s2v", _S2V)
    if config.frame_audio is not None:
        fields["frame_audio"] = _part(config.frame_audio, public, "frame_audio", _FRAME_AUDIO)
    if config.audio is not None:
        fields["audio"] = _part(config.audio, public, "audio", {})
    return fields


def _part(part: Part, public: Mapping[str, Any], name: str, words: Mapping[str, str]) -> Part:
    fields = {**_known(public, words), **public.get(name, {})}
    lists = {key: tuple(each) for key, each in fields.items() if isinstance(each, list)}
    return replace(part, **{**fields, **lists})


def _known(public: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    known = ((word, ours) for word, ours in words.items() if public.get(word) is not None)
    return {ours: public[word] for word, ours in known}
