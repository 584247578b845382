"""Profiles: a named model with its policy and chunk clock, and how its files are loaded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from avatar.errors import CorruptFile, NotFound
from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from avatar.models.dit import AudioConfig, DiT, DiTConfig
from avatar.models.vae import VAE, VAEConfig
from avatar.models.weights import check_file, load_into, read_model
from avatar.sampling.policy import NATIVE_2_STEP, Policy
from avatar.sampling.rollout import Portrait
from avatar.timebase import ChunkClock

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Profile:
    """`size` is the picture's side in pixels; `folder` holds weights and portraits."""

    name: str
    clock: ChunkClock
    policy: Policy
    size: int
    folder: Path


PROFILES = {
    "tiny": Profile("tiny", ChunkClock(25, 3, 4), NATIVE_2_STEP, 256, ASSETS / "tiny"),
}


def load_profile(name: str) -> Profile:
    """Raises NotFound, naming the profiles there are."""
    if name not in PROFILES:
        raise NotFound(f"profile {name!r} does not exist; there are {', '.join(PROFILES)}")
    return PROFILES[name]


@dataclass(frozen=True)
class Appearance:
    """What a profile knows of one avatar: `portrait` is (size, size, 3) uint8."""

    portrait: NDArray[np.uint8]
    model_portrait: Portrait


def load_appearance(profile: Profile, avatar: str) -> Appearance:
    """Portrait, face mask and sink latents of an avatar.

    Raises:
        NotFound: The profile has no such avatar.
        CorruptFile: Its file is damaged.
    """
    if not (profile.folder / avatar / "avatar.safetensors").is_file():
        known = sorted(p.parent.name for p in profile.folder.glob("*/avatar.safetensors"))
        raise NotFound(f"avatar {avatar!r} does not exist; there are {', '.join(known)}")
    path = check_file(profile.folder, f"{avatar}/avatar.safetensors")
    try:
        tensors = load_file(path)
        portrait = Portrait(tensors["sink_latents"][None], tensors["face_mask"][None].float())
        return Appearance(tensors["portrait"].numpy(), portrait)
    except (SafetensorError, KeyError) as error:
        raise CorruptFile(f"{path} is no avatar of this project: {error}") from error


def load_audio_encoder(profile: Profile) -> AudioEncoder:
    path = check_file(profile.folder, "audio_encoder.safetensors")
    tensors, config = read_model(path)
    config["dilations"] = tuple(config["dilations"])
    return load_into(AudioEncoder(AudioEncoderConfig(**config)), tensors, path)


def load_dit(profile: Profile) -> DiT:
    path = check_file(profile.folder, "dit.safetensors")
    tensors, config = read_model(path)
    config["audio"] = AudioConfig(**config["audio"]) if config["audio"] else None
    config["grid"] = tuple(config["grid"]) if config["grid"] else None
    return load_into(DiT(DiTConfig(**config)), tensors, path)


def load_vae(profile: Profile) -> VAE:
    path = check_file(profile.folder, "vae.safetensors")
    tensors, config = read_model(path)
    for name in ("motion_dims", "encoder_dims", "decoder_dims"):
        config[name] = tuple(config[name])
    return load_into(VAE(VAEConfig(**config)), tensors, path)
