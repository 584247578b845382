"""A profile's folder as conversion leaves it, of networks with a few hundred thousand weights."""

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

from avatar.cast.profiles import Profile, Recipe, load_profile, write_profile
from avatar.models import clip_vision, umt5, vae_wan, wav2vec2
from avatar.models.clip_vision import CLIPVision
from avatar.models.dit import AudioConfig, DiT, DiTConfig, S2VConfig
from avatar.models.umt5 import UMT5
from avatar.models.vae_wan import WanVAE
from avatar.models.wav2vec2 import Wav2Vec2
from avatar.models.weights import save_model, write_manifest
from avatar.sampling.policy import NATIVE_2_STEP, Policy
from avatar.timebase import ChunkClock
from tests.fakes.tiny_wan import make_visible, tiny_wan_config
from tests.fakes.weights import stir

WORDS = ["<pad>", "</s>", "<unk>", "▁a", "▁person", "▁who", "▁talks", "▁to", "▁you", "&"]


def write_tokenizer(folder: Path) -> None:
    """A small `tokenizer.json` of UMT5's kind."""
    tokenizer = Tokenizer(models.Unigram([(each, -1.0) for each in WORDS], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_tm(folder: Path) -> Profile:
    """The paper's model: it sees its image as Wan I2V does, with CLIP and text."""
    hears = wav2vec2.toy_base()
    audio = AudioConfig(
        hears.num_layers * hears.dim, 4, hidden_dim=24, context_tokens=4, context_dim=16
    )
    dit = replace(tiny_wan_config("tm-18b"), audio=audio)
    clip = replace(clip_vision.toy(), dim=dit.image_dim or 0, num_heads=4)
    _write_network(folder, "clip_vision", CLIPVision(clip), clip)
    return _write(folder, dit, hears, ChunkClock(25, 3, 4), NATIVE_2_STEP, (96, 80), "native")


def write_realvideo(folder: Path, policy: Policy) -> Profile:
    """Wan-S2V's geometry under a policy of two latents a chunk."""
    hears = wav2vec2.toy_large()
    s2v = S2VConfig(audio_layers=hears.num_layers + 1, audio_dim=hears.dim, inject_layers=(0, 2))
    dit = replace(tiny_wan_config("wan2.2-s2v-14b"), s2v=s2v)
    return _write(folder, dit, hears, ChunkClock(16, 2, 4), policy, (80, 64), "s2v")


def _write(
    folder: Path,
    dit: DiTConfig,
    hears: wav2vec2.Wav2Vec2Config,
    clock: ChunkClock,
    policy: Policy,
    size: tuple[int, int],
    hearing: Recipe,
) -> Profile:
    text = replace(umt5.toy(), dim=dit.text_dim or 0)
    vae = vae_wan.toy()
    model = DiT(dit)
    make_visible(model)
    save_model(model, dit, folder / "dit.safetensors", torch.float32)
    _write_network(folder, "vae", WanVAE(vae), vae)
    _write_network(folder, "umt5", UMT5(text), text)
    _write_network(folder, "wav2vec2", Wav2Vec2(hears), hears)
    write_manifest(folder)
    write_tokenizer(folder / "tokenizer")
    profile = Profile(
        folder.name, clock, policy, *size, folder, folder / "avatars",
        hearing=hearing, audio_encoder="wav2vec2",
    )  # fmt: skip
    write_profile(profile)
    return load_profile(str(folder))


def _write_network(folder: Path, name: str, model: nn.Module, config: object) -> None:
    stir(model)
    save_model(model, config, folder / f"{name}.safetensors", torch.float32)
