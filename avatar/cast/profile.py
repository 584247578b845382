"""The files of a profile: weights, and what it knows of each avatar."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.backends import Running
from avatar.backends.capture import captured
from avatar.backends.needs import (
    Picture,
    WanDecoder,
    decoder_plan,
    half_of,
    score_plan,
    speech_plan,
)
from avatar.backends.numbers import check_fp8, half_where_it_counts, in_8_bits
from avatar.cast.avatars import APPEARANCE, own_file, own_names
from avatar.cast.profiles import ASSETS, Profile
from avatar.errors import CorruptFile, NotFound
from avatar.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from avatar.models.dit import DiT, DiTConfig
from avatar.models.taehv import TAEHV, TAEHVConfig
from avatar.models.vae import VAE, VAEConfig
from avatar.models.vae_wan import WanVAE, WanVAEConfig
from avatar.models.wav2vec2 import (
    Recipe,
    SpeechFeatures,
    Wav2Vec2,
    Wav2Vec2Config,
    multitalk,
    native,
    s2v,
)
from avatar.models.weights import (
    CONVERT_FIX,
    GIT_FIX,
    MANIFEST,
    building_site,
    check_file,
    config_of,
    describes,
    load_into,
    place_into,
    read_header,
    read_model,
)
from avatar.sampling.rollout import Portrait

CPU = torch.device("cpu")
CPU_RUNNING = Running(device="cpu")
CHECKED_BYTES = 1 << 30


@dataclass(frozen=True)
class Appearance:
    """What a profile knows of one avatar: `portrait` is (height, width, 3) uint8.

    `features` is what training one's own character added to the decoder's features of the
    portrait, at 1/8, 1/4 and 1/2: (1, C, h, w) each; empty where nothing was.
    """

    portrait: NDArray[np.uint8]
    model_portrait: Portrait
    features: tuple[Tensor, ...] = ()
    text: Tensor | None = None
    image: Tensor | None = None


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
                f"make it anew with `make train-character NAME={avatar}` (of a photograph: "
                "`python -m avatar portrait`)"
            )
    else:
        shipped = sorted(p.parent.name for p in profile.folder.glob(f"*/{APPEARANCE}"))
        known = ", ".join([*shipped, *own_names(profile.avatars)])
        raise NotFound(f"avatar {avatar!r} does not exist; there are {known}")
    batched = {name: each[None].float() for name, each in tensors.items() if name in BATCHED}
    portrait = Portrait(
        batched["sink_latents"],
        batched["face_mask"],
        batched.get("image_channels"),
        batched.get("motion_latents"),
    )
    features = tuple(tensors[name].float() for name in FEATURES if name in tensors)
    pixels = tensors["portrait"].numpy()
    if pixels.shape != (profile.height, profile.width, 3):
        raise CorruptFile(
            f"the portrait of {avatar} is {pixels.shape[0]} x {pixels.shape[1]} pixels, the "
            f"profile {profile.name} has {profile.height} x {profile.width}: make it anew for it"
        )
    return Appearance(pixels, portrait, features, batched.get("text"), batched.get("image"))


FEATURES = ("features8", "features4", "features2")
"""Names of `Appearance.features` in the file; all or none."""
BATCHED = ("sink_latents", "face_mask", "image_channels", "motion_latents", "text", "image")
"""Names of what models take one of a session; all but the first two only where one needs it."""


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
            more = tuple(name for name in (*FEATURES, *BATCHED[2:]) if name in file.keys())
            tensors = {name: file.get_tensor(name) for name in (*needed, *more)}
            return tensors, (file.metadata() or {}).get("made_for", "")
    except SafetensorError as error:
        raise CorruptFile(f"{path} is no avatar of this project: {error}") from error


def weight_file(profile: Profile, name: str) -> Path:
    """Path of `<name>.safetensors`; that its content is the manifest's is checked up to 1 GiB.

    To read 30 GB once more for that would take as long as to load them; what is cut short or of
    other shapes is found in any case.

    Raises:
        NotFound: It is not there.
        CorruptFile: Its checksum is another.
    """
    file = f"{name}.safetensors"
    fix = GIT_FIX if profile.folder.parent == ASSETS else CONVERT_FIX
    path = profile.folder / file
    if path.is_file() and path.stat().st_size > CHECKED_BYTES:
        return path
    return check_file(profile.folder, file, fix)


def load_audio_encoder(profile: Profile) -> AudioEncoder:
    path = weight_file(profile, profile.audio_encoder)
    tensors, config = read_model(path)
    config["dilations"] = tuple(config["dilations"])
    return load_into(AudioEncoder(AudioEncoderConfig(**config)), tensors, path)


def load_speech_features(profile: Profile, device: torch.device = CPU) -> SpeechFeatures:
    """wav2vec2 with the profile's recipe; `load_audio_encoder` is for the recipe "own".

    Raises:
        CorruptFile: The file is of another network.
        Unavailable: It does not fit there, with the sum of what it needs.
    """
    path = weight_file(profile, profile.audio_encoder)
    header = read_header(path)
    config = config_of(Wav2Vec2Config, header)
    weights = 4 * sum(math.prod(shape) for shape in header.shapes.values())
    speech_plan(config, weights, recipe_of(profile), device).check()
    with torch.device("meta"):
        model = Wav2Vec2(config)
    model = place_into(model, path, device, lambda name: torch.float32)
    return SpeechFeatures(model, recipe_of(profile), profile.clock.frames_per_chunk)


def recipe_of(profile: Profile) -> Recipe:
    """How features are made; not of the recipe "own"."""
    make = {"multitalk": multitalk, "s2v": s2v, "native": native}[profile.hearing]
    return make(profile.clock.fps, profile.hold_back_frames)


def load_dit(profile: Profile, running: Running = CPU_RUNNING, device: torch.device = CPU) -> DiT:
    """The profile's DiT on its device, in the numbers that it computes with there.

    Raises:
        Unavailable: It does not fit there, with the sum of what it needs; or the device has no
            8-bit products.
    """
    is_fp8 = running.linears == "fp8"
    if is_fp8:
        check_fp8(device)
    path = weight_file(profile, profile.dit)
    config = config_of(DiTConfig, read_header(path))
    with building_site(path):
        model = DiT(config)
    picture = Picture(profile.height, profile.width)
    score_plan(model, profile.policy, picture, running, device).check()
    numbers = half_where_it_counts(model, half_of(device))
    # layer by layer while they are read: the whole in bfloat16 may be more than there is
    model = place_into(model, path, device, numbers, in_8_bits if is_fp8 else None)
    return captured(model, running.capture, device)


def load_decoder(
    profile: Profile, running: Running = CPU_RUNNING, device: torch.device = CPU
) -> VAE | WanDecoder:
    """What makes frames of the profile's latents: the default avatar's, Wan's, or the tiny one.

    Raises:
        Unavailable: It does not fit there, with the sum of what it needs.
    """
    path = weight_file(profile, profile.decoder)
    header = read_header(path)
    is_wan = describes(WanVAEConfig, header)
    if not is_wan and not describes(TAEHVConfig, header):
        return load_vae(profile).to(device)  # not below: it would be built without memory
    model: WanDecoder
    with torch.device("meta"):
        if is_wan:
            model = WanVAE(config_of(WanVAEConfig, header))
        else:
            model = TAEHV(config_of(TAEHVConfig, header))
    picture = Picture(profile.height, profile.width)
    channels = model.config.latent_channels
    decoder_plan(model, channels, picture, running, device).check()
    half = half_of(device)
    return place_into(model, path, device, lambda name: half)


def load_vae(profile: Profile) -> VAE:
    path = weight_file(profile, profile.decoder)
    tensors, config = read_model(path)
    for name in ("motion_dims", "encoder_dims", "decoder_dims"):
        config[name] = tuple(config[name])
    return load_into(VAE(VAEConfig(**config)), tensors, path)
