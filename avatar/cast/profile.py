"""The files of a profile: weights, and what it knows of each avatar."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.cast.avatars import APPEARANCE, own_file, own_names
from avatar.cast.profiles import Profile
from avatar.errors import CorruptFile, NotFound
from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from avatar.models.dit import AudioConfig, DiT, DiTConfig
from avatar.models.vae import VAE, VAEConfig
from avatar.models.weights import MANIFEST, check_file, load_into, read_model
from avatar.sampling.rollout import Portrait


@dataclass(frozen=True)
class Appearance:
    """What a profile knows of one avatar: `portrait` is (height, width, 3) uint8.

    `features` is what training one's own character added to the decoder's features of the
    portrait, at 1/8, 1/4 and 1/2: (1, C, h, w) each; empty where nothing was.
    """

    portrait: NDArray[np.uint8]
    model_portrait: Portrait
    features: tuple[Tensor, ...] = ()


def load_appearance(profile: Profile, avatar: str) -> Appearance:
    """Portrait, face mask and sink latents of an avatar, a shipped one or the user's own.

    Raises:
        NotFound: There is no such avatar.
        CorruptFile: Its file is damaged, or was made for other weights.
    """
    if (profile.folder / avatar / APPEARANCE).is_file():
        tensors, _ = _read_appearance(check_file(profile.folder, f"{avatar}/{APPEARANCE}"))
    elif avatar in own_names(profile.avatars):
        path = own_file(profile.avatars, avatar, APPEARANCE)
        tensors, made_for = _read_appearance(path)
        if made_for != weights_of(profile):
            raise CorruptFile(
                f"{path} was made for other weights than this version has; "
                f"make it anew with `make train-character NAME={avatar}`"
            )
    else:
        shipped = sorted(p.parent.name for p in profile.folder.glob(f"*/{APPEARANCE}"))
        known = ", ".join([*shipped, *own_names(profile.avatars)])
        raise NotFound(f"avatar {avatar!r} does not exist; there are {known}")
    portrait = Portrait(tensors["sink_latents"][None], tensors["face_mask"][None].float())
    features = tuple(tensors[name].float() for name in FEATURES if name in tensors)
    return Appearance(tensors["portrait"].numpy(), portrait, features)


FEATURES = ("features8", "features4", "features2")
"""Names of `Appearance.features` in the file; all or none."""


def save_appearance(tensors: dict[str, Tensor], path: Path, made_for: str) -> None:
    """Write `sink_latents` (S, C, h, w), `face_mask` (tokens,), `portrait` (height, width, 3).

    And, where there are any, `FEATURES`. `made_for` is `weights_of` the profile.
    """
    contiguous = {name: each.contiguous() for name, each in tensors.items()}
    save_file(contiguous, path, metadata={"made_for": made_for})


def weights_of(profile: Profile) -> str:
    """Which VAE an avatar's latents are for: its sha256.

    Raises:
        CorruptFile: The profile's manifest cannot be read.
    """
    try:
        return str(json.loads((profile.folder / MANIFEST).read_text())["vae.safetensors"])
    except (OSError, KeyError, ValueError) as error:
        raise CorruptFile(
            f"{profile.folder / MANIFEST} cannot be read; restore it with `git checkout`"
        ) from error


def _read_appearance(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of an avatar's file, and which weights they were made for."""
    try:
        with safe_open(path, "pt") as file:
            needed = ("sink_latents", "face_mask", "portrait")
            more = tuple(name for name in FEATURES if name in file.keys())
            tensors = {name: file.get_tensor(name) for name in (*needed, *more)}
            return tensors, (file.metadata() or {}).get("made_for", "")
    except SafetensorError as error:
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
